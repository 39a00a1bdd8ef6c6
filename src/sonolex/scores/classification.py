"""One class per clip: decisions by the highest score, and rankings of each class's scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sonolex import metrics
from sonolex.labels import class_name
from sonolex.scores.base import CLASSES, Scorer, decisions, names_of

TOP = {"top2": 2, "top5": 5, "top10": 10}
DECIDED = metrics.CLASSIFICATION | metrics.PRECISION_RECALL
METRICS = (*DECIDED, *metrics.RANKING, *TOP)


class ClassificationScorer(Scorer):
    """Scores of each class; the highest one is the answer, of equal ones the first.

    Options: ``classes`` in the order of the columns; ``metric_names``; ``open_vocabulary`` if labels outside the
    classes count as errors. "map" and "mean_roc_area" rank the scores of each class; "top2", "top5" and
    "top10" count a clip as right if its class is among that many best.
    """

    options: ClassVar = {
        "classes": CLASSES,
        "metric_names": names_of(METRICS),
        "open_vocabulary": ("true or false", lambda v: isinstance(v, bool)),
    }
    required = ("classes", "metric_names")
    one_class = True
    clipwise = True
    paper_words: ClassVar = {"accuracy": "WA in CTAL", "balanced_accuracy": "UA in CTAL", **metrics.RANKING_WORDS}

    def metrics(
        self, labels: Sequence[Any], scores: np.ndarray, options: Mapping[str, Any], groups: Sequence[Any] | None
    ) -> dict[str, float]:
        classes, names = options["classes"], options["metric_names"]
        open_vocabulary = options.get("open_vocabulary", False)
        true_B, predicted_B = decisions(labels, scores, classes, open_vocabulary=open_vocabulary)
        ranking = {}
        if set(names) & set(metrics.RANKING):
            ranking = metrics.ranking((true_B[:, None] == np.arange(len(classes))).astype(float), scores)
        best_BC = np.argsort(-np.asarray(scores), axis=1, kind="stable")
        ranking |= {n: float((best_BC[:, :k] == true_B[:, None]).any(1).mean()) for n, k in TOP.items()}
        return {
            n: DECIDED[n](true_B, predicted_B) if n in DECIDED else ranking[n]
            for n in names
            if n in DECIDED or n in ranking
        }

    def wrong_labels(self, labels: Iterable[Any], options: Mapping[str, Any]) -> list[Any]:
        classes = set(options["classes"])
        return [] if options.get("open_vocabulary") else [v for v in labels if class_name(v) not in classes]


SCORER = ClassificationScorer()
