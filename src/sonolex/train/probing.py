"""Score frozen vectors: a linear classifier or an SVM on what a system hears, without training the system.

The classifier's one constant is chosen on the selection part, which then joins the training part for the final fit;
nothing is fitted on the report part.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sonolex import metrics
from sonolex.data.loader import FeatureCache
from sonolex.data.manifest import Manifest
from sonolex.scoring import class_name
from sonolex.systems.base import save_json
from sonolex.train.evaluation import Evaluation, evaluate
from sonolex.train.results import write_results
from sonolex.train.run import Run
from sonolex.train.sources import build, load_sources, require_same_run, require_unseen_report

COSTS = (0.01, 0.1, 1.0, 10.0)


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

    def vectors(clips: Manifest) -> Evaluation:
        return evaluate(
            model,
            processor,
            clips,
            loading=run.data.loading,
            batch_s=run.budget.batch_s,
            batch_clips=run.budget.batch_clips,
            device=torch.device("cpu"),
            with_losses=False,
            cache=cache,
        )

    def labels(found: Evaluation) -> np.ndarray:
        return np.array([class_name(v) for v in found.labels[name]])

    seen, selection, report = (vectors(m) for m in (train, *(load_sources(s) for s in _other_parts(run))))
    fitted = [_classifier(run.frozen_classifier, cost).fit(seen.pooled_BD, labels(seen)) for cost in COSTS]
    values = [metrics.balanced_accuracy(labels(selection), c.predict(selection.pooled_BD)) for c in fitted]
    best = _classifier(run.frozen_classifier, COSTS[int(np.argmax(values))]).fit(
        np.concatenate([seen.pooled_BD, selection.pooled_BD]), np.concatenate([labels(seen), labels(selection)])
    )
    classes = list(task.config.classes)  # type: ignore[attr-defined]
    one_hot = np.eye(len(classes))[[classes.index(c) for c in best.predict(report.pooled_BD)]]
    scored = replace(report, scores={name: one_hot}, metrics={name: task.metrics(report.labels[name], one_hot)})
    state = {"step": 0, "best": float(max(values)), "train_s": time.perf_counter() - started}
    return write_results(folder, run, model, state, load_sources(run.data.report), scored)


def _other_parts(run: Run) -> tuple:
    return run.data.selection, run.data.report


def _classifier(name: str, cost: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    last = SVC(C=10 * cost) if name == "svm" else LogisticRegression(C=cost, max_iter=2000)
    return make_pipeline(StandardScaler(), last)
