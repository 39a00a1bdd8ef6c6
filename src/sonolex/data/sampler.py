"""Duration-bucketed batches as a pure function of (seed, epoch, rank, world size).

An epoch's *global* batches do not depend on the number of processes: each process takes its share of every one. So one
process and eight see the same clips in the same steps, every process takes the same number of steps, and resuming at
step k needs nothing but k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POOL_BATCHES = 20  # batches sorted together: 0.92–0.96 useful share on log-normal lengths (performance.md, 3b)


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
    """

    durations_s: np.ndarray
    max_batch_s: float
    max_clips: int = 1_000_000
    seed: int = 0
    by_length: bool = True

    def __post_init__(self) -> None:
        if not len(self.durations_s):
            raise ValueError("`durations_s` must have at least one clip, but has none.")
        if not (np.isfinite(self.durations_s).all() and (self.durations_s >= 0).all()):
            raise ValueError("`durations_s` must be known for every clip. Call Manifest.with_durations() first.")
        if self.max_batch_s <= 0 or self.max_clips < 1:
            raise ValueError(
                f"`max_batch_s` and `max_clips` must be positive, but are {self.max_batch_s}, {self.max_clips}."
            )

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """Return the global batches (row numbers) of an epoch, in training order. Each row occurs exactly once."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.durations_s))
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
