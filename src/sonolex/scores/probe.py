"""How well frozen vectors predict a label: a cross-validated linear probe and a nearest-neighbour one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sonolex import metrics
from sonolex.groups import group_numbers, separate_folds
from sonolex.labels import class_name
from sonolex.scores.base import Scorer, whole_number


class ProbeScorer(Scorer):
    """Vectors of clips.

    ``linear_accuracy``: logistic regression on standardised vectors, ``num_folds`` stratified folds; a class with fewer
    groups than folds lowers their number. ``knn_accuracy``: majority of the nearest ``num_neighbours`` clips by cosine.
    No clip is judged by another one of its own group (speaker, recording); with ``across="clips"``, or where no group
    has two clips, by itself.
    """

    options: ClassVar = {
        "num_folds": whole_number(2, 100),
        "num_neighbours": whole_number(1, 1000),
        "across": ('"groups" or "clips"', lambda v: v in ("groups", "clips")),
    }

    def metrics(
        self, labels: Sequence[Any], scores: np.ndarray, options: Mapping[str, Any], groups: Sequence[Any] | None
    ) -> dict[str, float]:
        """Return both accuracies. Raises ValueError for a class in one group only."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        names_B = np.array([class_name(v) for v in labels])
        if len(np.unique(names_B)) < 2:
            return {}
        groups_B = group_numbers(groups if options.get("across", "groups") == "groups" else None, len(names_B))
        folds = separate_folds(names_B, groups_B, options.get("num_folds", 5))
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        predicted_B = cross_val_predict(linear, scores, names_B, cv=folds)
        unit_BD = scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-12)
        cosines_BB = np.where(groups_B[:, None] == groups_B, -np.inf, unit_BD @ unit_BD.T)
        num_others = len(names_B) - int(np.bincount(groups_B).max())
        num_nearest = min(options.get("num_neighbours", 5), num_others)
        nearest_Bk = np.argsort(-cosines_BB, axis=1, kind="stable")[:, :num_nearest]
        voted_B = np.array([max(sorted(set(row)), key=row.tolist().count) for row in names_B[nearest_Bk]])
        return {
            "linear_accuracy": metrics.accuracy(names_B, np.asarray(predicted_B)),
            "knn_accuracy": metrics.accuracy(names_B, voted_B),
        }


SCORER = ProbeScorer()
