"""Duration-bucketed batches as a pure function of (seed, epoch, rank, world size).

An epoch's *global* batches do not depend on the number of processes: each process takes its share of every one. So one
process and eight see the same clips in the same steps, every process takes the same number of steps, and resuming at
step k needs nothing but k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BALANCES = ("none", "prune", "repeat", "fill", "even")
POOL_BATCHES = 20  # batches sorted together: 0.92–0.96 useful share on log-normal lengths


@dataclass(frozen=True)
class Sampler:
    """Cuts clips into batches of at most ``max_batch_s`` seconds, padding included.

    Attributes:
        durations_s: one per row, in seconds.
        max_batch_s: seconds a global batch may hold once padded to its longest clip; a longer single clip is a
            batch of its own.
        max_clips: most clips in a global batch.
        seed: of the order.
        by_length: sort clips by length within pools of POOL_BATCHES, so that little is padded; False draws every batch
            at random.
        labels: class of each row, for ``balance``; rows of class None are never repeated or left out.
        balance: which rows an epoch has: all once ("none"); every class down to the rarest, always the same rows
            ("prune"); a class ⌊largest / its size⌋ times, as the transfer study did ("repeat": 3 and 18 times, which
            leaves 3,837 and 4,086 of 4,223); all as often as the most frequent one ("fill"); or as many as there are,
            each of a class drawn with equal chances ("even").
    """

    durations_s: np.ndarray
    max_batch_s: float
    max_clips: int = 1_000_000
    seed: int = 0
    by_length: bool = True
    labels: Sequence[Any] | None = None
    balance: str = "none"

    def __post_init__(self) -> None:
        if not len(self.durations_s):
            raise ValueError("`durations_s` must have at least one clip, but has none.")
        if not (np.isfinite(self.durations_s).all() and (self.durations_s >= 0).all()):
            raise ValueError("`durations_s` must be known for every clip. Call Manifest.with_durations() first.")
        if self.max_batch_s <= 0 or self.max_clips < 1:
            raise ValueError(
                f"`max_batch_s` and `max_clips` must be positive, but are {self.max_batch_s}, {self.max_clips}."
            )

        if self.balance not in BALANCES or (self.balance != "none" and self.labels is None):
            raise ValueError(f"`balance` must be one of {', '.join(BALANCES)}, with `labels`, but is {self.balance!r}.")

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """Return the global batches (row numbers) of an epoch, in training order. Unless balanced, each row is once."""
        rng = np.random.default_rng([self.seed, epoch])
        order = self._rows(rng)
        order = order[rng.permutation(len(order))]
        if not self.by_length:
            return self._cut(order)
        pool_s = POOL_BATCHES * self.max_batch_s
        pools = np.floor(np.cumsum(self.durations_s[order]) / pool_s).astype(np.int64)
        # Rows of one pool are neighbours after this sort, by length within it; it is stable, so ties stay shuffled.
        order = order[np.lexsort((self.durations_s[order], pools))]
        batches = self._cut(order)
        return [batches[i] for i in rng.permutation(len(batches))]

    def evaluation(self) -> list[np.ndarray]:
        """Return batches in order of length, for evaluation."""
        return self._cut(np.argsort(self.durations_s, kind="stable"))

    def useful_share(self, epoch: int = 0) -> float:
        """Return the share of padded seconds that are audio."""
        batches = self.epoch(epoch)
        padded = sum(len(b) * self.durations_s[b].max() for b in batches)
        return float(self.durations_s.sum() / padded) if padded else 1.0

    def _rows(self, rng: np.random.Generator) -> np.ndarray:
        """Return an epoch's rows, before they are shuffled."""
        everything = np.arange(len(self.durations_s))
        if self.balance == "none" or self.labels is None:
            return everything
        members: dict[Any, list[int]] = {}
        for row, label in enumerate(self.labels):
            members.setdefault(label, []).append(row)
        unlabelled = members.pop(None, [])
        classes = [np.array(members[c]) for c in sorted(members, key=str)]
        most, least = max(map(len, classes)), min(map(len, classes))
        if self.balance == "prune":
            always = np.random.default_rng(self.seed)
            kept = [always.choice(rows, least, replace=False) for rows in classes]
        elif self.balance == "repeat":
            kept = [np.tile(rows, most // len(rows)) for rows in classes]
        elif self.balance == "fill":
            kept = [np.concatenate([np.tile(r, most // len(r)), rng.choice(r, most % len(r), False)]) for r in classes]
        else:
            drawn = rng.integers(len(classes), size=len(everything) - len(unlabelled))
            kept = [rng.choice(rows, int((drawn == c).sum())) for c, rows in enumerate(classes)]
        return np.concatenate([*kept, np.array(unlabelled, int)]).astype(np.int64)

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        batches, start, longest = [], 0, 0.0
        durations = self.durations_s[order].tolist()
        for i, duration in enumerate(durations):
            longest_with = max(longest, duration)
            size = i - start + 1
            if i > start and (longest_with * size > self.max_batch_s or size > self.max_clips):
                batches.append(order[start:i])
                start, longest_with = i, duration
            longest = longest_with
        batches.append(order[start:])
        return batches


def share_of(batch: np.ndarray, rank: int, world_size: int) -> np.ndarray:
    """Return the rows of a global batch that a process takes: every ``world_size``-th, starting at its rank."""
    return batch[rank::world_size]
