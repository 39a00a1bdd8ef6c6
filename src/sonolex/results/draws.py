"""Bootstrap by whole groups of clips (speakers, recordings); quick for metrics that are means of recalls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sonolex.groups import group_numbers
from sonolex.scores.base import Scorer, decisions

FEWEST_GROUPS = 3
RECALLS = ("accuracy", "balanced_accuracy")
"""Metrics of one class a clip that follow from how many clips of each class are right."""


def has_groups(predictions: Mapping[str, Any]) -> bool:
    """Return whether clips are known to come from several speakers or recordings."""
    return len({g for g in predictions.get("groups", ()) if g is not None}) >= FEWEST_GROUPS


def groups_drawn(predictions: Mapping[str, Any]) -> np.ndarray:
    """Return every clip's group number (N,); groups are drawn whole: a speaker, a recording, or a clip alone."""
    groups = list(predictions["groups"]) if has_groups(predictions) else None
    return group_numbers(groups, len(predictions["clip_ids"]))


def recall_counts(predictions: Mapping[str, Any], groups_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many clips of each class are right, and how many there are, by group: (G, C) each."""
    known = np.array([v is not None for v in predictions["labels"]], bool)
    labels = [v for v in predictions["labels"] if v is not None]
    options = predictions["options"]
    true_B, predicted_B = decisions(
        labels,
        np.asarray(predictions["scores"], float)[known],
        options["classes"],
        open_vocabulary=options.get("open_vocabulary", False),
    )
    shape = (int(groups_N.max()) + 1, len(options["classes"]) + 1)  # the last column counts labels outside the classes
    right_GC, all_GC = np.zeros(shape), np.zeros(shape)
    np.add.at(all_GC, (groups_N[known], true_B), 1)
    np.add.at(right_GC, (groups_N[known], true_B), true_B == predicted_B)
    return right_GC, all_GC


def drawn_recalls(metric: str, counts: tuple[np.ndarray, np.ndarray], times_DG: np.ndarray) -> np.ndarray:
    """Return a metric of `RECALLS` for every draw (D,), in which group g counts ``times_DG[d, g]`` times."""
    right_DC, all_DC = (times_DG @ c for c in counts)
    if metric == "accuracy":
        return right_DC.sum(1) / all_DC.sum(1)
    recalls_DC = np.divide(right_DC, all_DC, out=np.zeros_like(right_DC), where=all_DC > 0)
    return recalls_DC.sum(1) / (all_DC > 0).sum(1)


def intervals(
    predictions: Mapping[str, Any], wanted: Sequence[str], *, num_draws: int
) -> dict[str, tuple[float, float]]:
    """Return the 95 % intervals of metrics by bootstrap over groups; undefined metrics have none."""
    groups_N, rng = groups_drawn(predictions), np.random.default_rng(0)
    count = int(groups_N.max()) + 1
    draws = [rng.integers(0, count, count) for _ in range(num_draws)]
    if predictions["scorer"].one_class and set(wanted) <= set(RECALLS):
        times_DG = np.stack([np.bincount(groups, minlength=count) for groups in draws])
        counts = recall_counts(predictions, groups_N)
        values = {name: drawn_recalls(name, counts, times_DG) for name in wanted}
    else:
        values = _scored(predictions, wanted, draws, [np.flatnonzero(groups_N == g) for g in range(count)])
    by_metric = {}
    for name, values_D in values.items():
        if not np.isnan(values_D).all():
            low, high = np.nanquantile(values_D, (0.025, 0.975))
            by_metric[name] = float(low), float(high)
    return by_metric


def _scored(
    predictions: Mapping[str, Any], wanted: Sequence[str], draws: Sequence[np.ndarray], members: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return metrics of every draw of groups, NaN where one is not defined."""
    scorer: Scorer = predictions["scorer"]
    options = scorer.only(predictions["options"], wanted)
    scores, by_draw = np.asarray(predictions["scores"], float), []
    for groups in draws:
        rows = np.concatenate([members[g] for g in groups])
        labels = [predictions["labels"][i] for i in rows]
        by_draw.append(scorer.score(labels, scores[rows], options))
    return {name: np.array([values.get(name, np.nan) for values in by_draw]) for name in wanted}
