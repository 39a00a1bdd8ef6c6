"""Every metric with its definition and source. No metric is called just "WA" or "F1".

The papers use one word for different things: CTAL's WA is `accuracy`, CALM's WA is
`mean_binary_balanced_accuracy`. Names here are unambiguous; a report shows the papers' words beside them.
Functions take numpy arrays: true class ids (B,), scores (B, C), or values (B,).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]


def accuracy(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return the share of correct decisions. CTAL: "WA"."""
    _same_length(true_B, predicted_B)
    return float(np.mean(true_B == predicted_B))


def balanced_accuracy(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return the mean recall over the classes that occur in ``true_B``. CTAL: "UA"."""
    _same_length(true_B, predicted_B)
    return float(np.mean([np.mean(predicted_B[true_B == c] == c) for c in np.unique(true_B)]))


def macro_f1(true_B: np.ndarray, predicted_B: np.ndarray, *, zero_division: float = 0.0) -> float:
    """Return the unweighted mean of per-class F1 over classes that occur on either side."""
    from sklearn.metrics import f1_score

    _same_length(true_B, predicted_B)
    return float(f1_score(true_B, predicted_B, average="macro", zero_division=zero_division))  # type: ignore[arg-type]


def weighted_f1(true_B: np.ndarray, predicted_B: np.ndarray, *, zero_division: float = 0.0) -> float:
    """Return per-class F1 weighted by how often the class is *true* (docs/reference.md, Metrics: MulT swaps both)."""
    from sklearn.metrics import f1_score

    _same_length(true_B, predicted_B)
    return float(f1_score(true_B, predicted_B, average="weighted", zero_division=zero_division))  # type: ignore[arg-type]


def macro_precision(true_B: np.ndarray, predicted_B: np.ndarray, *, zero_division: float = 0.0) -> float:
    """Return the mean of per-class precision; a class never predicted counts ``zero_division``."""
    from sklearn.metrics import precision_score

    _same_length(true_B, predicted_B)
    return float(precision_score(true_B, predicted_B, average="macro", zero_division=zero_division))  # type: ignore[arg-type]


def confusion_counts(true_B: np.ndarray, predicted_B: np.ndarray, num_classes: int) -> np.ndarray:
    """Return (C, C) counts, true class by row."""
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (true_B, predicted_B), 1)
    return counts


def top_k_accuracy(true_B: np.ndarray, scores_BC: np.ndarray, k: int) -> float:
    """Return the share of clips whose true class is among the k best scores."""
    _same_length(true_B, scores_BC)
    best_Bk = np.argsort(-scores_BC, axis=1, kind="stable")[:, :k]
    return float(np.mean((best_Bk == true_B[:, None]).any(1)))


def mean_binary_balanced_accuracy(true_BC: np.ndarray, predicted_BC: np.ndarray) -> float:
    """Return the mean over classes of ½ (recall + specificity). CALM: "WA" (docs/reference.md, CALM).

    Raises:
        ValueError: a class without positives or without negatives has no such value.
    """
    values = []
    for c in range(true_BC.shape[1]):
        positive = true_BC[:, c].astype(bool)
        if positive.all() or not positive.any():
            raise ValueError(f"class {c} must have positives and negatives. Choose a split that has both.")
        values.append((predicted_BC[positive, c].mean() + (1 - predicted_BC[~positive, c]).mean()) / 2)
    return float(np.mean(values))


def mean_binary_accuracy(true_BC: np.ndarray, predicted_BC: np.ndarray) -> float:
    """Return the share of correct yes/no decisions over all classes. CALM: "Acc"."""
    return float(np.mean(true_BC == predicted_BC))


def mean_binary_f1(true_BC: np.ndarray, predicted_BC: np.ndarray) -> float:
    """Return the mean over classes of the F1 of "yes"; 0 for a class without any yes ("macro F1" of tagging)."""
    return float(np.mean([_f1(true_BC[:, c], predicted_BC[:, c]) for c in range(true_BC.shape[1])]))


def pooled_binary_f1(true_BC: np.ndarray, predicted_BC: np.ndarray) -> float:
    """Return the F1 of "yes" over all decisions of all classes ("micro F1")."""
    return _f1(true_BC.ravel(), predicted_BC.ravel())


def calm_f1(true_BC: np.ndarray, predicted_BC: np.ndarray) -> float:
    """Return CALM appendix B's "micro-averaged F1" as printed: Σ_c (TP_c + TN_c) / (all labels) · F1_c.

    The weights are the classes' shares of correct decisions and sum to the mean accuracy, so it is neither micro nor
    weighted by support (docs/reference.md, CALM), and is below the mean of the F1s.
    """
    right_C = (true_BC == predicted_BC).sum(0) / true_BC.size
    return float(sum(w * _f1(true_BC[:, c], predicted_BC[:, c]) for c, w in enumerate(right_C)))


def best_thresholds(true_BC: np.ndarray, scores_BC: np.ndarray) -> np.ndarray:
    """Return, per class, the threshold with the best ½ (recall + specificity): "yes" from there on.

    It lies halfway between two neighbouring scores; of equally good thresholds, the middle one is taken. A class
    without positives or without negatives keeps 0.5. Scores must be finite. Memory grows with the clips, not with
    clips times thresholds.
    """
    found_C = np.full(true_BC.shape[1], 0.5)
    for c in np.flatnonzero(true_BC.any(0) & ~true_BC.all(0)):
        steps = np.unique(scores_BC[:, c])
        cuts = np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2])
        positive = true_BC[:, c].astype(bool)
        sorted_of = [np.sort(scores_BC[side, c]) for side in (positive, ~positive)]
        recall, alarms = ((len(s) - np.searchsorted(s, cuts)) / len(s) for s in sorted_of)  # from each cut on
        value = recall - alarms
        best = np.flatnonzero(value == value.max())
        found_C[c] = cuts[best[len(best) // 2]]
    return found_C


def mean_average_precision(true_BC: np.ndarray, scores_BC: np.ndarray) -> float:
    """Return the mean over classes of step-wise average precision: Σ precision · gain in recall, scikit-learn's.

    Every class must have clips of both kinds. Computed here, because intervals need it thousands of times and
    scikit-learn spends milliseconds on checking its input each time.

    Raises:
        ValueError: scores that are not finite.
    """
    precisions = []
    for hits, alarms in _steps_of_classes(true_BC, scores_BC):
        precisions.append(np.sum(hits / (hits + alarms) * np.diff(hits, prepend=0)) / hits[-1])
    return float(np.mean(precisions))


def mean_roc_area(true_BC: np.ndarray, scores_BC: np.ndarray) -> float:
    """Return the mean over classes of the area under the ROC ("AUC" of AST and SSAST), by trapezoids.

    Every class must have clips of both kinds.

    Raises:
        ValueError: scores that are not finite.
    """
    areas = []
    for hits, alarms in _steps_of_classes(true_BC, scores_BC):
        heights = (hits + np.concatenate([[0], hits[:-1]])) / 2
        areas.append(np.sum(np.diff(alarms, prepend=0) * heights) / (hits[-1] * alarms[-1]))
    return float(np.mean(areas))


def _steps_of_classes(true_BC: np.ndarray, scores_BC: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each class how many clips are right and wrong from every different score on, the highest first."""
    if not np.isfinite(scores_BC).all():
        raise ValueError("`scores` must be finite numbers, but some are not.")
    for true_B, scores_B in zip(true_BC.T, scores_BC.T, strict=True):
        order = np.argsort(-scores_B, kind="stable")
        last_of_score = np.flatnonzero(np.append(np.diff(scores_B[order]) != 0, True))
        hits = np.cumsum(true_B[order] > 0)[last_of_score]
        yield hits, last_of_score + 1 - hits


def mixed_classes(true_BC: np.ndarray) -> list[int]:
    """Return the classes that have both positives and negatives.

    Without either, average precision and area are undefined (docs/reference.md, Metrics): no such class is counted as
    a success.
    """
    return [c for c in range(true_BC.shape[1]) if 0 < true_BC[:, c].sum() < len(true_BC)]


def ranking(true_BC: np.ndarray, scores_BC: np.ndarray) -> dict[str, float]:
    """Return mAP, AUC and d′ over the `mixed_classes`, and how many those are."""
    scored = mixed_classes(true_BC)
    if not scored:
        return {"classes_scored": 0.0}
    area = mean_roc_area(true_BC[:, scored], scores_BC[:, scored])
    return {
        "map": mean_average_precision(true_BC[:, scored], scores_BC[:, scored]),
        "mean_roc_area": area,
        "d_prime": d_prime(area),
        "classes_scored": float(len(scored)),
    }


def d_prime(mean_area: float) -> float:
    """Return √2 · Φ⁻¹(area), AudioSet's sensitivity index. Reference G.

    >>> d_prime(0.5)
    0.0
    """
    from scipy.stats import norm

    return float(np.sqrt(2) * norm.ppf(mean_area))


def mae(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return the mean absolute error of raw, unclipped values."""
    _same_length(true_B, predicted_B)
    return float(np.mean(np.abs(true_B - predicted_B)))


def pearson(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return Pearson's correlation; 0 when either side is constant (where it is undefined)."""
    _same_length(true_B, predicted_B)
    if np.ptp(true_B) == 0 or np.ptp(predicted_B) == 0:
        return 0.0
    return float(np.corrcoef(true_B, predicted_B)[0, 1])


def ccc(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return Lin's concordance correlation (1989), 2 s_xy / (s_x² + s_y² + (x̄ − ȳ)²); 0 where it is undefined.

    Unlike Pearson's it is lowered by a wrong scale or mean.
    """
    _same_length(true_B, predicted_B)
    both = np.mean((true_B - true_B.mean()) * (predicted_B - predicted_B.mean()))
    apart = true_B.var() + predicted_B.var() + (true_B.mean() - predicted_B.mean()) ** 2
    return float(2 * both / apart) if apart > 0 else 0.0


def acc2_zeros_dropped(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return MOSEI Acc2 (i): clips with true value 0 dropped, positive means > 0 (docs/reference.md, Metrics)."""
    kept = true_B != 0
    return accuracy(true_B[kept] > 0, predicted_B[kept] > 0)


def acc2_nonnegative(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return MOSEI Acc2 (ii): negative against non-negative, ≥ 0 on both sides. Reference G."""
    return accuracy(true_B >= 0, predicted_B >= 0)


def f1_zeros_dropped(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return the support-weighted F1 that goes with `acc2_zeros_dropped`."""
    kept = true_B != 0
    return weighted_f1(true_B[kept] > 0, predicted_B[kept] > 0)


def f1_nonnegative(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return the support-weighted F1 that goes with `acc2_nonnegative`."""
    return weighted_f1(true_B >= 0, predicted_B >= 0)


def acc7(true_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Return exact match after clipping to ±3 and rounding half to even (MOSEI's seven classes)."""
    return accuracy(np.round(np.clip(true_B, -3, 3)), np.round(np.clip(predicted_B, -3, 3)))


def recalls(scores_NM: np.ndarray, right_NM: np.ndarray) -> dict[int, float]:
    """Return, for k in 1, 5 and 10, the share of queries with a right item among their k best.

    Of equally good items the wrong ones come first, so that a constant score finds nothing.

    >>> recalls(np.array([[0.9, 0.1], [0.7, 0.2]]), np.array([[True, False], [False, True]]))
    {1: 0.5, 5: 1.0, 10: 1.0}
    """
    best_N1 = np.where(right_NM, scores_NM, -np.inf).max(1, keepdims=True)
    better_N = ((scores_NM >= best_N1) & ~right_NM).sum(1)
    return {k: float((better_N < k).mean()) for k in (1, 5, 10)}


def bootstrap_interval(
    metric: Metric,
    true_B: np.ndarray,
    predicted_B: np.ndarray,
    *,
    groups_B: np.ndarray | None = None,
    num_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return a percentile interval of ``metric``, drawing whole groups (speakers, recordings) when they are given."""
    rng = np.random.default_rng(seed)
    members = _members(groups_B) if groups_B is not None else [np.array([i]) for i in range(len(true_B))]
    values = []
    for _ in range(num_draws):
        rows = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        values.append(metric(true_B[rows], predicted_B[rows]))
    tail = (1 - level) / 2
    return float(np.quantile(values, tail)), float(np.quantile(values, 1 - tail))


CLASSIFICATION: dict[str, Metric] = {f.__name__: f for f in (accuracy, balanced_accuracy, macro_f1, weighted_f1)}
PRECISION_RECALL: dict[str, Metric] = {  # only for protocols that list them
    "macro_precision": macro_precision,
    "macro_precision_undefined_as_1": partial(macro_precision, zero_division=1.0),
    "macro_recall": balanced_accuracy,
}
TAGGING: dict[str, Metric] = {
    "mean_binary_balanced_accuracy": mean_binary_balanced_accuracy,
    "mean_binary_accuracy": mean_binary_accuracy,
    "mean_binary_f1": mean_binary_f1,
    "pooled_binary_f1": pooled_binary_f1,
    "calm_f1": calm_f1,
}
REGRESSION: dict[str, Metric] = {
    f.__name__: f
    for f in (mae, ccc, pearson, acc2_zeros_dropped, acc2_nonnegative, f1_zeros_dropped, f1_nonnegative, acc7)
}
RANKING = ("map", "mean_roc_area", "d_prime", "classes_scored")
RANKING_WORDS = {"map": "AP in VCR-AST", "mean_roc_area": "AUC in VCR-AST"}


def _f1(true_N: np.ndarray, predicted_N: np.ndarray) -> float:
    both = float((true_N.astype(bool) & predicted_N.astype(bool)).sum())
    either = float(true_N.sum() + predicted_N.sum())
    return 2 * both / either if either else 0.0


def _same_length(a: np.ndarray, b: np.ndarray) -> None:
    if len(a) != len(b) or not len(a):
        raise ValueError(f"true and predicted values must be equally many and not none, but are {len(a)} and {len(b)}.")


def _members(groups_B: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(groups_B == g) for g in np.unique(groups_B)]
