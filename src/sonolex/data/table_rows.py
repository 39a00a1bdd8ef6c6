"""Read a table row by row for prediction: a faulty row is reported, and the others are read.

Training reads all rows at once (`sonolex.data.manifest`); prediction reads one at a time, so that memory does not grow
with a CSV, TSV or JSONL file. A Parquet or Arrow file is opened as for training, with all its checks, and its columns
stay in memory (Arrow files from 32 MB on stay on disk). Messages name rows as `sonolex.data.problems.Places` does: a
row of a text file by the line it begins on, any other by its number.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sonolex.data.arrow_files import open_arrow, open_parquet, regular_size
from sonolex.data.column_names import named
from sonolex.data.columns import MISSING_WORDS
from sonolex.data.problems import ManifestError, Places
from sonolex.data.tables import BYTE_ORDER_MARKS, MOST_CELL_CHARACTERS, SEPARATOR_LINE

# The columns that a prediction needs.
ANSWER_COLUMNS = ("audio", "audio_bytes", "text", "offset_s", "duration_s", "id")
AT_ONCE = 1024
Cells = tuple[int | None, Mapping[str, Any] | str]  # of one row: its line, and its cells or its problem


@dataclass(frozen=True)
class Row:
    """One row: its number, from 1 and without the header, and its cells; ``problem`` tells why they are empty.

    Attributes:
        line: of a text file, where the row begins, from 1, header and empty lines included.
    """

    number: int
    line: int | None = None
    id: str | None = None
    audio: str | bytes | None = None
    text: str | None = None
    offset_s: float | None = None
    duration_s: float | None = None
    problem: str = ""

    @property
    def place(self) -> str:
        """Its name in messages."""
        return Places(None if self.line is None else {self.number - 1: self.line}).one(self.number - 1)


def table_rows(path: Path, *, names: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Yield the rows of a CSV, TSV, JSONL, Parquet or Arrow file, in order.

    Args:
        names: which columns are audio and text, where they are called neither: {"audio": "recording"}.

    Raises:
        FileNotFoundError: there is no such file.
        ManifestError: it is not such a table, or has no column with audio or text.
    """
    readers = {".jsonl": _json_cells, ".parquet": _arrow_cells, ".arrow": _arrow_cells}
    read = readers.get(path.suffix.lower(), _csv_cells)
    for number, (line, cells) in enumerate(read(path, names or {}), start=1):
        yield _row(number, line, cells)


def _row(number: int, line: int | None, cells: Mapping[str, Any] | str) -> Row:
    if isinstance(cells, str):
        return Row(number, line, problem=cells)
    try:
        embedded = cells.get("audio_bytes")
        audio = embedded if isinstance(embedded, bytes) else _text(cells, "audio")
        text, name = _text(cells, "text"), _text(cells, "id")
        return Row(number, line, name, audio, text, _seconds(cells, "offset_s"), _seconds(cells, "duration_s"))
    except ValueError as e:
        return Row(number, line, problem=str(e))


def _text(cells: Mapping[str, Any], name: str) -> str | None:
    value = cells.get(name)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name} must be text, but is {type(value).__name__}")
    text = str(value).strip()
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError(f"{name} must be UTF-8 text, but holds other bytes (Latin-1?): save the table as UTF-8 text")
    return text or None


def _seconds(cells: Mapping[str, Any], name: str) -> float | None:
    value = cells.get(name)
    if value is None or str(value).strip().lower() in MISSING_WORDS:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} must be a non-negative number, but is {value!r:.40}")
    return seconds


def _csv_cells(path: Path, chosen: Mapping[str, str]) -> Iterator[Cells]:
    _require_text(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline(MOST_CELL_CHARACTERS)
        separator = SEPARATOR_LINE.fullmatch(first.strip("\r\n"))  # Excel's "sep=;" above the header
        if separator is None:
            file.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else separator[1] if separator else _delimiter(first)
        lines, above = csv.reader(file, delimiter=delimiter, strict=True), int(separator is not None)
        try:
            header = next((line for line in lines if any(map(str.strip, line))), None)
            if header is None:
                raise ManifestError(str(path), ["it is empty"])
            wanted = _wanted([cell.strip() for cell in header], chosen, path)
            following = above + lines.line_num + 1
            for line in lines:
                begins, following = following, above + lines.line_num + 1
                if not line:  # "," is an empty row; a blank line is not a row
                    continue
                if len(line) != len(header):
                    yield begins, f"must have {len(header)} cells, but has {len(line)}"
                else:
                    yield begins, {meaning: line[place] for place, meaning in wanted.items()}
        except csv.Error as e:
            raise ManifestError(str(path), [f"line {above + lines.line_num}: cannot be read as CSV: {e}"]) from None


def _delimiter(header: str) -> str:
    return max((",", ";", "\t"), key=header.count)


def _json_cells(path: Path, chosen: Mapping[str, str]) -> Iterator[Cells]:
    _require_text(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        number = 0
        wanted: dict[tuple[str, ...], dict[int, str]] = {}  # by the names of an object's fields
        while line := file.readline(MOST_CELL_CHARACTERS):
            number += 1
            if not line.endswith("\n") and len(line) == MOST_CELL_CHARACTERS:
                limit = f"{MOST_CELL_CHARACTERS:,}"
                raise ManifestError(str(path), [f"line {number}: must have at most {limit} characters, but has more"])
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as e:
                yield number, f"is not JSON: {e}"
                continue
            if not isinstance(row, dict):
                yield number, f"must be an object, but is {type(row).__name__}"
                continue
            names = tuple(row)
            try:
                wanted = wanted if names in wanted else {names: _wanted(names, chosen, path)}
            except ManifestError as e:
                if not wanted:
                    raise
                yield number, "; ".join(e.problems)
                continue
            yield number, _plain_audio({meaning: row[names[place]] for place, meaning in wanted[names].items()})


def _arrow_cells(path: Path, chosen: Mapping[str, str]) -> Iterator[Cells]:
    try:
        table = (open_arrow if path.suffix == ".arrow" else open_parquet)(path)
    except ValueError as e:
        raise ManifestError(str(path), [str(e).removeprefix(f"{path} ")]) from None
    wanted = _wanted(table.column_names, chosen, path)
    columns = pa.table({meaning: table.column(place) for place, meaning in wanted.items()})
    for start in range(0, columns.num_rows, AT_ONCE):
        for cells in columns.slice(start, AT_ONCE).to_pylist():
            yield None, _plain_audio(cells)


def _plain_audio(cells: dict[str, Any]) -> dict[str, Any]:
    """Return cells with embedded audio in ``audio_bytes``."""
    sound = cells.get("audio")
    if isinstance(sound, Mapping):
        return cells | {"audio": sound.get("path"), "audio_bytes": sound.get("bytes")}
    return cells | {"audio": None, "audio_bytes": sound} if isinstance(sound, bytes) else cells


def _wanted(header: Sequence[str], chosen: Mapping[str, str], path: Path) -> dict[int, str]:
    """Return the standard names of the columns that are read, by position. Columns without a name are ignored.

    Raises:
        ManifestError: columns that cannot be told apart, or none with audio or text.
    """
    called = named([name for name in header if name], where=str(path), chosen=chosen).names
    meanings = [called.get(name, "") for name in header]
    return {place: meaning for place, meaning in enumerate(meanings) if meaning in ANSWER_COLUMNS}


def _require_text(path: Path) -> None:
    """Raise ManifestError if the first bytes show that this is not UTF-8 text."""
    try:
        regular_size(path)
    except ValueError as e:
        raise ManifestError(str(path), [str(e).removeprefix(f"{path} ")]) from None
    with path.open("rb") as file:
        beginning = file.read(4096)
    other_format = next((kind for mark, kind in BYTE_ORDER_MARKS.items() if beginning.startswith(mark)), None)
    if other_format is not None or b"\0" in beginning:
        kind = other_format or "something with NUL bytes (UTF-16?)"
        raise ManifestError(str(path), [f"it must be UTF-8 text, but is {kind}: save it as UTF-8 text"])
