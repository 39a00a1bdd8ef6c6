"""One number per clip, in the label's unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sonolex import metrics
from sonolex.scores.base import Scorer, is_number, names_of


class RegressionScorer(Scorer):
    """One column of values. Option: ``metric_names``."""

    options: ClassVar = {"metric_names": names_of(metrics.REGRESSION)}
    required = ("metric_names",)
    clipwise = True
    intervals_of = ("mae", "ccc", "pearson")
    lower_is_better = frozenset({"mae"})
    paper_words: ClassVar = {"acc2_zeros_dropped": "Acc2 in CTAL"}

    def metrics(
        self, labels: Sequence[Any], scores: np.ndarray, options: Mapping[str, Any], groups: Sequence[Any] | None
    ) -> dict[str, float]:
        true_B = np.array([float(v) for v in labels])
        return {n: metrics.REGRESSION[n](true_B, scores[:, 0]) for n in options["metric_names"]}

    def width(self, num_scores: int, options: Mapping[str, Any]) -> int:
        return 1

    def wrong_labels(self, labels: Iterable[Any], options: Mapping[str, Any]) -> list[Any]:
        return [v for v in labels if not is_number(v)]


SCORER = RegressionScorer()
