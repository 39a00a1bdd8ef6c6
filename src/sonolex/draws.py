"""Bootstrap by whole groups of clips (speakers, recordings), quick for metrics that are means of recalls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sonolex import scoring
from sonolex.scoring import group_numbers

FEWEST_GROUPS = 3
RECALLS = ("accuracy", "balanced_accuracy")
"""Metrics of a classification that follow from how many clips of each class are right."""


def has_groups(predictions: Mapping[str, Any]) -> bool:
    """Return whether clips are known to come from several speakers or recordings."""
    return len({g for g in predictions.get("groups", ()) if g is not None}) >= FEWEST_GROUPS


def groups_drawn(predictions: Mapping[str, Any]) -> np.ndarray:
    """Return the group (N,) of every clip that is drawn with it: its speaker or recording, or none but itself."""
    groups = list(predictions["groups"]) if has_groups(predictions) else None
    return group_numbers(groups, len(predictions["clip_ids"]))


def recall_counts(predictions: Mapping[str, Any], groups_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many clips of each class are right, and how many there are, by group: (G, C) each."""
    known = np.array([v is not None for v in predictions["labels"]], bool)
    labels = [v for v in predictions["labels"] if v is not None]
    options = predictions["options"]
    true_B, predicted_B = scoring.decisions(
        labels,
        np.asarray(predictions["scores"], float)[known],
        options["classes"],
        open_vocabulary=options.get("open_vocabulary", False),
    )
    shape = (int(groups_N.max()) + 1, len(options["classes"]) + 1)  # the last one is of labels that are no class
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
