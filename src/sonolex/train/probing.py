"""Score frozen vectors: a simple classifier for each task on a system's pooled vectors, without training the system.

A classifier is fitted to the training part, and the selection part if the run has one; its one constant is chosen by
cross-validation within them, since a few dozen selection clips are too few to choose it. Folds share no speaker (or
recording, where only that is known), unless some class has only one: then folds are drawn by clip. Nothing is fitted on
the report part.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.data.loader import FeatureCache, Loading
from sonolex.data.manifest import Manifest
from sonolex.devices import AUTO, find_device
from sonolex.files import save_json
from sonolex.groups import group_numbers, separate_folds
from sonolex.labels import class_name
from sonolex.tasks.base import task_type
from sonolex.train.building import build
from sonolex.train.contents import require_same_clips, write_clips
from sonolex.train.evaluation import Evaluation, evaluate
from sonolex.train.folder import entered, finished
from sonolex.train.honesty import require_unseen_report
from sonolex.train.manifests import load_sources
from sonolex.train.results import write_results
from sonolex.train.run import Run

SVM_COSTS = (1.0, 10.0, 100.0)
LINEAR_COSTS = (0.01, 0.1, 1.0, 10.0)
NEIGHBOURS = (1, 5, 25)
NOISE = 1.25  # length of the noise: a clip's audio and text vectors lie about this far apart, cosine 0.65
NOISY_WIDTH, NOISY_BATCH, NOISY_PASSES, NOISY_STEPS = 512, 512, 40, (300, 4000)  # passes, within a range of steps
NUM_FOLDS = 5


def probe(run: Run, folder: Path, *, earlier: dict[str, Path] | None = None, device: str = AUTO) -> dict[str, Any]:
    """Fit ``run.frozen_classifier`` to the vectors of its (untrained or given) system; return the results.

    Raises:
        ValueError: a task of the run is not a classification, no clip has its label, or there is no such device.
        Held: another process trains in the folder.
    """
    results = finished(folder, run)
    if results is not None:
        return results
    scorers = [task_type(t.kind, trust_code=True).scorer for t in run.tasks]
    if not all(scorer is not None and scorer.one_class for scorer in scorers):
        raise ValueError(f"`tasks` of run {run.name!r} must be classifications to be probed.")
    place = find_device(device)
    with entered(folder, run):
        require_same_clips(folder, run)
        return _probed(run, folder, earlier or {}, place)


def _probed(run: Run, folder: Path, earlier: dict[str, Path], place: torch.device) -> dict[str, Any]:
    started = time.perf_counter()
    train = load_sources(run.data.train)
    require_unseen_report(run, train, earlier)
    model, processor, _ = build(run, train, earlier=earlier)
    model = model.to(place)
    write_clips(folder, run)
    save_json(folder / "recipe.json", run)
    cache = FeatureCache(run.data.loading.cache_mb)

    def vectors(clips: Manifest, loading: Loading) -> Evaluation:
        return evaluate(
            model,
            processor,
            clips,
            loading=loading,
            batch_s=run.budget.batch_s,
            batch_clips=run.budget.batch_clips,
            device=place,
            with_losses=False,
            cache=cache,
        )

    clips = [train, *([load_sources(run.data.selection)] if run.data.selection else [])]
    evaluations = [vectors(part, run.data.loading) for part in clips]
    chosen = {name: _fitted(run.frozen_classifier, name, evaluations) for name, _ in model.task_items()}
    report = load_sources(run.data.report)

    def scored(loading: Loading) -> Evaluation:
        evaluation = vectors(report, loading)
        scores, metrics = {}, {}
        for name, task in model.task_items():
            classes = list(task.config.classes)
            predicted = chosen[name][0].predict(evaluation.pooled_BD)
            scores[name] = np.eye(len(classes))[[classes.index(c) for c in predicted]]
            metrics[name] = task.metrics(evaluation.labels[name], scores[name], evaluation.groups[name])
        return replace(evaluation, scores=scores, metrics=metrics)

    accuracy = float(np.mean([value for _, value in chosen.values()]))
    state = {"step": 0, "best": accuracy, "train_s": time.perf_counter() - started}
    for modalities in run.data.also_report:
        write_results(folder, run, model, state, report, scored(run.data.asked_with(modalities)), modalities=modalities)
    return write_results(folder, run, model, state, report, scored(run.data.loading))


def _fitted(classifier: str, task: str, parts: Sequence[Evaluation]) -> tuple[Any, float]:
    """Return a classifier fitted to the vectors of the clips that have the task's label, and its accuracy there."""
    labels = [label for part in parts for label in part.labels[task]]
    rows = [row for row, label in enumerate(labels) if label is not None]
    if not rows:
        raise ValueError(f"`train` must hold clips with a label of task {task!r} to be probed, but none has one.")
    seen_ND = np.concatenate([part.pooled_BD for part in parts])[rows]
    known = [part.groups.get(task) or [None] * len(part.labels[task]) for part in parts]
    groups_N = group_numbers([group for of_part in known for group in of_part], len(labels))[rows]
    return _chosen(classifier, seen_ND, np.array([class_name(labels[row]) for row in rows]), groups_N)


def _chosen(name: str, seen_ND: np.ndarray, known_N: np.ndarray, groups_N: np.ndarray) -> tuple[Any, float]:
    """Return the fitted classifier with the best cross-validated constant, and its mean accuracy there."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, ShuffleSplit, StratifiedKFold
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    scaled = {"linear": (LogisticRegression(max_iter=2000), LINEAR_COSTS), "svm": (SVC(), SVM_COSTS)}
    if name == "nearest":
        classifier, grid = KNeighborsClassifier(metric="cosine"), {"n_neighbors": NEIGHBOURS}
    elif name == "noisy":
        classifier, grid = _noisy_network(), {"noise": (NOISE,)}
    else:
        last, costs = scaled[name]
        classifier, grid = make_pipeline(StandardScaler(), last), {f"{type(last).__name__.lower()}__C": costs}
    _, counts = np.unique(known_N, return_counts=True)
    rarest = min(len(np.unique(groups_N[known_N == n])) for n in np.unique(known_N))
    if name == "noisy":  # nothing to choose: one held-out part measures its accuracy
        folds: Any = ShuffleSplit(1, test_size=0.1, random_state=0)
    elif rarest < 2:
        folds = StratifiedKFold(max(2, min(NUM_FOLDS, int(counts.min()))), shuffle=True, random_state=0)
    else:
        folds = separate_folds(known_N, groups_N, NUM_FOLDS)
    search = GridSearchCV(classifier, grid, cv=folds, scoring="balanced_accuracy")
    search.fit(seen_ND, known_N)
    return search.best_estimator_, float(search.best_score_)


def _noisy_network() -> Any:
    """Return a network of two hidden layers that learns from unit vectors with noise as long as ``noise``.

    Vectors of one modality differ in directions that another modality does not have. Noise hides small ones, so that
    what the network learns from texts holds for their recordings.
    """
    from sklearn.base import BaseEstimator, ClassifierMixin

    class NoisyNetwork(ClassifierMixin, BaseEstimator):
        def __init__(self, noise: float = NOISE):
            self.noise = noise

        def fit(self, x_ND: np.ndarray, known_N: np.ndarray) -> Any:
            self.classes_, known = np.unique(known_N, return_inverse=True)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self._fit(F.normalize(torch.tensor(x_ND, dtype=torch.float32)), torch.tensor(known))
            return self

        def _fit(self, x_ND: Tensor, known_N: Tensor) -> None:
            dim = x_ND.shape[1]
            widths = (dim, NOISY_WIDTH, NOISY_WIDTH)
            hidden = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.GELU())]
            self.network_ = nn.Sequential(*hidden, nn.Linear(NOISY_WIDTH, len(self.classes_)))
            optimiser = torch.optim.AdamW(self.network_.parameters(), lr=1e-3, fused=True)
            steps = int(np.clip(NOISY_PASSES * len(x_ND) // NOISY_BATCH, *NOISY_STEPS))
            rates = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
            for _ in range(steps):
                rows = torch.randint(len(x_ND), (NOISY_BATCH,))
                near_BD = x_ND[rows] + self.noise / dim**0.5 * torch.randn(NOISY_BATCH, dim)
                loss = F.cross_entropy(self._scores(near_BD), known_N[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                rates.step()

        def predict(self, x_ND: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                scores_NC = self._scores(torch.tensor(x_ND, dtype=torch.float32))
            return self.classes_[scores_NC.argmax(1).numpy()]

        def _scores(self, x_ND: Tensor) -> Tensor:
            return self.network_(F.normalize(x_ND) * x_ND.shape[1] ** 0.5)

    return NoisyNetwork()
