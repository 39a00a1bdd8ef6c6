"""The findings of reading a table: its problems, notes for the user, and the names of its rows in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

ROWS_NAMED = 5


class ManifestError(ValueError):
    """A manifest that cannot be used; the message lists every problem found, not only the first."""

    def __init__(self, where: str, problems: Sequence[str], *, cure: str = ""):
        self.problems = list(problems)
        shown = "".join(f"\n  - {p}" for p in self.problems[:50])
        more = f"\n  … and {len(self.problems) - 50} more" if len(self.problems) > 50 else ""
        super().__init__(f"{where} has {len(self.problems)} problem(s):{shown}{more}" + (f"\n{cure}" if cure else ""))


@dataclass(frozen=True)
class Places:
    """Names of the rows of a table in messages.

    A row of a text file is the *line* it begins on, as an editor counts: from 1, the header and empty lines included.
    A row of Parquet, Arrow or Python is the *row*, from 1.

    Attributes:
        lines: of every row, if it has one.

    >>> Places().one(2), Places([2, 3, 5]).one(2), Places([2, 3, 5]).several([0, 2])
    ('row 3', 'line 5', 'lines 2, 5')
    """

    lines: Sequence[int] | Mapping[int, int] | None = None

    def one(self, row: int) -> str:
        return f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"

    def several(self, rows: Sequence[int] | np.ndarray) -> str:
        """Return the name of several rows, the first few by number."""
        numbers = [int(r) + 1 if self.lines is None else self.lines[int(r)] for r in list(rows)[:ROWS_NAMED]]
        more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
        noun = ("row" if self.lines is None else "line") + ("" if len(rows) == 1 else "s")
        return f"{noun} {', '.join(map(str, numbers))}{more}"


@dataclass
class Findings:
    """Problems and notes of one table, in the order they were found, and which columns held lists of labels."""

    places: Places = Places()
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)

    def wrong(self, row: int, problem: str) -> None:
        """Note what is wrong with a row (from 0)."""
        self.problems.append(f"{self.places.one(row)}: {problem}")

    def missing(self, name: str, words: Iterable[str], rows: Sequence[int] | np.ndarray) -> None:
        """Note values in a column of numbers that are not numbers, if there are any."""
        if len(rows):
            listed = ", ".join(sorted(map(repr, set(words)))[:ROWS_NAMED])
            verb = "value is not a number" if len(rows) == 1 else "values are not numbers"
            counted = f"{len(rows)} {verb} ({listed}) and counted as missing"
            self.notes.append(f"{name!r}: {counted}: {self.places.several(rows)}")
