"""Divide clips into parts that share no speaker or recording, and check that parts do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sonolex.data.manifest import Manifest


def disjoint_splits(
    groups: Sequence[str], *, shares: Mapping[str, float], seed: int = 0, strata: Sequence[Any] | None = None
) -> list[str]:
    """Return a split name per row so that no group (speaker, recording) is in two splits.

    Groups are dealt in a seeded order, each to the split that is furthest below its share of rows (and of every
    stratum, when given). Every split gets at least one group.

    Raises:
        ValueError: fewer groups than splits.
    """
    rng = np.random.default_rng(seed)
    names, order = list(shares), sorted(set(groups))
    if len(order) < len(names):
        raise ValueError(f"`groups` must have at least {len(names)} values for {names}, but has {len(order)}.")
    strata_ids = np.unique([str(s) for s in strata], return_inverse=True)[1] if strata is not None else None
    strata_ids = np.zeros(len(groups), int) if strata_ids is None else strata_ids
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    num_strata = int(strata_ids.max()) + 1
    counts = {g: np.bincount(strata_ids[rows], minlength=num_strata) for g, rows in members.items()}
    rng.shuffle(order)
    order.sort(key=lambda g: -len(members[g]))  # stable: the seeded order decides among equals
    wanted = {n: shares[n] * np.bincount(strata_ids, minlength=num_strata) for n in names}
    have = {n: np.zeros(num_strata) for n in names}
    assigned: dict[str, str] = {}
    for position, group in enumerate(order):
        empty = [n for n in names if not have[n].any()]
        candidates = empty if len(order) - position <= len(empty) else names
        assigned[group] = max(candidates, key=lambda n: float(np.sum((wanted[n] - have[n]) * counts[group])))
        have[assigned[group]] += counts[group]
    return [assigned[g] for g in groups]


def require_disjoint(parts: Mapping[str, Manifest], *, column: str) -> None:
    """Raise ValueError if a value of ``column`` (speaker, source_id, id) occurs in two parts. Missing values pass."""
    part_of: dict[Any, str] = {}
    for name, part in parts.items():
        for value in {v for v in part.column(column) if v is not None}:
            if value in part_of:
                raise ValueError(
                    f"`{column}` must be disjoint between parts, but {value!r} is in {part_of[value]!r} and {name!r}. "
                    "Results would be measured on known speakers or recordings: choose another split."
                )
            part_of[value] = name
