"""A divided table as blocks of clips: some are reported, and on others candidates are chosen beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sonolex.data.folds import stratified_groups
from sonolex.data.parts import Divided
from sonolex.doors.fit.question import Question

INNER_PARTS = 3  # of the training part, beside the validation part
MOST_INNER_CLIPS = 4000  # above, the validation part alone chooses
NEIGHBOURS, NEIGHBOURS_OF_MANY, MANY_CLIPS = 4, 2, 1000  # blocks that choose beside a reported one


@dataclass(frozen=True)
class Blocks:
    """Rows of a table in blocks that share no speaker.

    Attributes:
        rows: of every block.
        names: of the blocks, as in the table's column.
        reports: the reported blocks: all in cross-validation, else the test part alone.
        inner: with a single test part, the blocks that choose; the first of them is the validation part.
    """

    rows: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    reports: tuple[int, ...]
    inner: tuple[int, ...] = ()

    @property
    def crossed(self) -> bool:
        """Whether the table is cross-validated."""
        return not self.inner

    @property
    def all(self) -> tuple[int, ...]:
        """The numbers of all blocks."""
        return tuple(range(len(self.rows)))

    def choosing(self, without: frozenset[int]) -> tuple[int, ...]:
        """Return the blocks that choose among candidates which must not see the blocks ``without``.

        In cross-validation these are the neighbours of the one reported block, two on each side (one in larger tables);
        all blocks if ``without`` is empty.
        """
        if not self.crossed:
            return self.inner
        if not without:
            return self.all
        (reported,) = without
        count = len(self.rows)
        near = [(reported + step) % count for step in (1, -1, 2, -2)]
        most = NEIGHBOURS if sum(map(len, self.rows)) <= MANY_CLIPS else NEIGHBOURS_OF_MANY
        return tuple(dict.fromkeys(b for b in near if b != reported))[:most]

    def learned(self, without: frozenset[int]) -> np.ndarray:
        """Return the rows of all other blocks, in the table's order."""
        return np.sort(np.concatenate([self.rows[b] for b in self.all if b not in without]))

    def together(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Return the rows of some blocks, block after block."""
        return np.concatenate([self.rows[b] for b in numbers])

    @property
    def final(self) -> frozenset[int]:
        """Blocks that the final model must not see: the test part, if there is one."""
        return frozenset() if self.crossed else frozenset(self.reports)


def blocks_of(divided: Divided, question: Question, *, seed: int) -> Blocks:
    """Return the blocks of a divided table."""
    parts = np.array(divided.parts)
    if divided.folds:
        names = sorted(set(divided.parts), key=lambda p: (len(p), p))
        return Blocks(tuple(np.flatnonzero(parts == n) for n in names), tuple(names), tuple(range(len(names))))
    test, validation, train = (np.flatnonzero(parts == n) for n in ("test", "validation", "train"))
    names, rows = ["test", "validation"], [test, validation]
    groups = _groups(divided, train)
    if len(train) + len(validation) <= MOST_INNER_CLIPS and len(set(groups)) >= INNER_PARTS:
        strata = [question.strata[i] for i in train]
        part_N = stratified_groups(groups, strata, INNER_PARTS, seed=seed)
        rows += [train[part_N == p] for p in range(INNER_PARTS)]
        names += [f"train {p + 1}" for p in range(INNER_PARTS)]
        return Blocks(tuple(rows), tuple(names), (0,), tuple(range(1, len(rows))))
    return Blocks((*rows, train), (*names, "train"), (0,), (1,))


def _groups(divided: Divided, rows: np.ndarray) -> list[str]:
    speakers, ids = divided.manifest.column("speaker"), divided.manifest.column("id")
    return [f"clip {ids[i]}" if speakers[i] is None else f"speaker {speakers[i]}" for i in rows]
