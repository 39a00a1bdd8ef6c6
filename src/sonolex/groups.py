"""Clips that belong together (one speaker, one recording): their numbers, and folds that do not divide them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def group_numbers(groups: Sequence[Any] | None, num_clips: int) -> np.ndarray:
    """Return a number for each clip that it shares with the clips of its group; clips of no known group are alone.

    >>> group_numbers(["anna", None, "anna", None], 4).tolist()
    [0, 1, 0, 2]
    """
    keys = list(range(num_clips)) if groups is None else [(i,) if g is None else str(g) for i, g in enumerate(groups)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def separate_folds(names_B: np.ndarray, groups_B: np.ndarray, num_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (training rows, other rows) of stratified folds that share no group; all classes are in all trainings.

    A class in fewer groups than folds lowers their number. Where a class would be missing from a training because its
    groups fell into one fold, every group is a fold.

    Raises:
        ValueError: a class in one group only.
    """
    from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

    num_groups = {str(name): len(np.unique(groups_B[names_B == name])) for name in np.unique(names_B)}
    rarest = min(num_groups, key=lambda name: num_groups[name])
    alone = len(np.unique(groups_B)) == len(groups_B)
    if num_groups[rarest] < 2:
        what = "clips" if alone else "groups (speakers, recordings)"
        cure = "" if alone else " Take a part with more of them, or probe across clips."
        raise ValueError(f"a probe must have at least 2 {what} of every class, but {rarest!r} has 1.{cure}")
    count = min(num_folds, num_groups[rarest])
    if alone:
        return list(StratifiedKFold(count, shuffle=True, random_state=0).split(names_B, names_B))
    folds = list(StratifiedGroupKFold(count, shuffle=True, random_state=0).split(names_B, names_B, groups_B))
    if all(len(test) and len(np.unique(names_B[train])) == len(num_groups) for train, test in folds):
        return folds
    return list(LeaveOneGroupOut().split(names_B, names_B, groups_B))
