"""Score frozen vectors: a simple classifier on what a system hears, without training the system.

The classifier sees the training and the selection part; its one constant is chosen by cross-validation within them,
since a selection part of a few dozen clips cannot choose it. Nothing is fitted on the report part.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sonolex.data.loader import FeatureCache, Loading
from sonolex.data.manifest import Manifest
from sonolex.scoring import class_name
from sonolex.systems.base import save_json
from sonolex.train.evaluation import Evaluation, evaluate
from sonolex.train.results import write_results
from sonolex.train.run import Run
from sonolex.train.sources import build, load_sources, require_same_run, require_unseen_report

SVM_COSTS = (1.0, 10.0, 100.0)
LINEAR_COSTS = (0.01, 0.1, 1.0, 10.0)
NEIGHBOURS = (1, 5, 25)
NOISE = 1.25  # of vectors that stand for others: an audio's lies about as far from its text's, cosine 0.65
NOISY_COPIES = 5
NUM_FOLDS = 5


def probe(run: Run, folder: Path, *, earlier: dict[str, Path] | None = None) -> dict[str, Any]:
    """Fit ``run.frozen_classifier`` to the vectors of its (untrained or given) system; return the results.

    Raises:
        ValueError: the run's task is not one classification.
    """
    if (folder / "results.json").is_file():
        require_same_run(folder, run)
        return json.loads((folder / "results.json").read_text(encoding="utf-8"))
    if len(run.tasks) != 1 or run.tasks[0].kind != "classification":
        raise ValueError(f"`tasks` of run {run.name!r} must be one classification to be probed.")
    folder.mkdir(parents=True, exist_ok=True)
    require_same_run(folder, run)
    started = time.perf_counter()
    train = load_sources(run.data.train)
    require_unseen_report(run, train, earlier or {})
    model, processor, _ = build(run, train, earlier=earlier or {})
    save_json(folder / "recipe.json", run)
    (name, task), cache = model.task_items()[0], FeatureCache(run.data.loading.cache_mb)

    def vectors(clips: Manifest, loading: Loading) -> Evaluation:
        return evaluate(
            model,
            processor,
            clips,
            loading=loading,
            batch_s=run.budget.batch_s,
            batch_clips=run.budget.batch_clips,
            device=torch.device("cpu"),
            with_losses=False,
            cache=cache,
        )

    def labels(found: Evaluation) -> np.ndarray:
        return np.array([class_name(v) for v in found.labels[name]])

    train_part = vectors(train, run.data.loading)
    selection_part = vectors(load_sources(run.data.selection), run.data.loading)
    seen_ND = np.concatenate([train_part.pooled_BD, selection_part.pooled_BD])
    known_N = np.concatenate([labels(train_part), labels(selection_part)])
    best, value = _chosen(run.frozen_classifier, seen_ND, known_N)
    classes, report = list(task.config.classes), load_sources(run.data.report)  # type: ignore[attr-defined]

    def scored(loading: Loading) -> Evaluation:
        found = vectors(report, loading)
        one_hot = np.eye(len(classes))[[classes.index(c) for c in best.predict(found.pooled_BD)]]
        return replace(found, scores={name: one_hot}, metrics={name: task.metrics(found.labels[name], one_hot)})

    state = {"step": 0, "best": value, "train_s": time.perf_counter() - started}
    for asked in run.data.also_report:
        write_results(folder, run, model, state, report, scored(run.data.asked_with(asked)), asked=asked)
    return write_results(folder, run, model, state, report, scored(run.data.loading))


def _chosen(name: str, seen_ND: np.ndarray, known_N: np.ndarray) -> tuple[Any, float]:
    """Return the fitted classifier with the best cross-validated constant, and its mean accuracy there."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
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
    folds = StratifiedKFold(max(2, min(NUM_FOLDS, int(counts.min()))), shuffle=True, random_state=0)
    search = GridSearchCV(classifier, grid, cv=folds, scoring="balanced_accuracy")
    search.fit(seen_ND, known_N)
    return search.best_estimator_, float(search.best_score_)


def _noisy_network() -> Any:
    """Return a network of one hidden layer that learns from unit vectors with noise as long as ``noise``.

    Vectors of one modality differ by directions that another modality does not have. Noise hides small ones, so that
    what is learned from texts holds for their recordings.
    """
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.neural_network import MLPClassifier

    class NoisyNetwork(ClassifierMixin, BaseEstimator):
        def __init__(self, noise: float = NOISE):
            self.noise = noise

        def fit(self, x_ND: np.ndarray, known_N: np.ndarray) -> Any:
            rng = np.random.default_rng(0)
            unit_ND = np.tile(_unit(x_ND), (NOISY_COPIES, 1))
            noise_ND = rng.normal(0, self.noise / np.sqrt(x_ND.shape[1]), unit_ND.shape)
            sizes: dict[str, Any] = {"hidden_layer_sizes": (512,), "batch_size": 512, "max_iter": 8}
            self.network_ = MLPClassifier(**sizes, random_state=0, learning_rate_init=2e-3)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # eight passes are meant
                self.network_.fit(self._scaled(unit_ND + noise_ND), np.tile(known_N, NOISY_COPIES))
            self.classes_ = np.unique(known_N)
            return self

        def predict(self, x_ND: np.ndarray) -> np.ndarray:
            found: Any = self.network_.predict(self._scaled(x_ND))
            return found

        def _scaled(self, x_ND: np.ndarray) -> np.ndarray:
            return (_unit(x_ND) * np.sqrt(x_ND.shape[1])).astype(np.float32)

    return NoisyNetwork()


def _unit(x_ND: np.ndarray) -> np.ndarray:
    return x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12)
