"""Plain tables to typed columns: CSV, TSV and JSONL rows, checked as a whole.

Everything that is wrong with a table is reported at once, by row and field.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

STANDARD_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "audio": pa.string(),
    "audio_bytes": pa.binary(),
    "offset_s": pa.float64(),
    "duration_s": pa.float64(),
    "sampling_rate": pa.int64(),
    "text": pa.string(),
    "language": pa.string(),
    "speaker": pa.string(),
    "session": pa.string(),
    "source_id": pa.string(),
    "split": pa.string(),
    "fold": pa.string(),
}
ALIASES = {
    "duration": "duration_s",
    "offset": "offset_s",
    "path": "audio",
    "file": "audio",
    "transcript": "text",
}
FORMATS = (".arrow", ".parquet", ".csv", ".tsv", ".jsonl")


class ManifestError(ValueError):
    """A manifest that cannot be used; the message lists every problem found, not only the first."""

    def __init__(self, where: str, problems: Sequence[str], *, cure: str = ""):
        self.problems = list(problems)
        shown = "".join(f"\n  - {p}" for p in self.problems[:50])
        more = f"\n  … and {len(self.problems) - 50} more" if len(self.problems) > 50 else ""
        super().__init__(f"{where} has {len(self.problems)} problem(s):{shown}{more}" + (f"\n{cure}" if cure else ""))


def jsonl_rows(path: Path) -> list[dict]:
    """Return the objects of a JSONL file. Raises ManifestError with every line that is none."""
    rows, problems = [], []
    for number, line in enumerate(_decoded(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as e:
            problems.append(f"line {number}: is not JSON: {e}")
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            problems.append(f"line {number}: must be an object, but is {type(row).__name__}")
    if problems:
        raise ManifestError(str(path), problems)
    return rows


def csv_rows(path: Path) -> list[dict]:
    """Return the rows of a CSV or TSV file as text; the delimiter is guessed from the header.

    Raises:
        ManifestError: every line with too many or too few cells, and nameless or repeated columns.
    """
    text = _decoded(path)
    if "\0" in text:
        raise ManifestError(str(path), ["it holds NUL bytes, so it is not a text file"])
    delimiter = "\t" if path.suffix == ".tsv" else _delimiter(text)
    try:
        lines = list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter))
    except csv.Error as e:
        raise ManifestError(str(path), [f"it cannot be read as CSV: {e}"]) from None
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    if not lines:
        raise ManifestError(str(path), ["it is empty"])
    header = [cell.strip() for cell in lines[0]]
    problems = [f"header: column {n!r} occurs twice" for n in sorted({n for n in header if header.count(n) > 1})]
    problems += [f"header: column {i + 1} has no name" for i, n in enumerate(header) if not n]
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            problems.append(f"line {number}: must have {len(header)} cells, but has {len(line)}")
    if problems:
        raise ManifestError(str(path), problems)
    return [{n: c.strip() or None for n, c in zip(header, line, strict=True)} for line in lines[1:]]


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ManifestError(str(path), [f"it must be UTF-8 text, but byte {e.start} is not"]) from None


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max((",", ";", "\t"), key=first.count)


def require_content(rows: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raise one error, not one per row, when no row has any audio or text: the header is wrong."""
    names = sorted({str(ALIASES.get(k, k)) for row in rows for k in row})
    if {"audio", "audio_bytes", "text"} & set(names):
        return
    nearest = difflib.get_close_matches("audio", names, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r} to be 'audio'?" if nearest else ""
    raise ManifestError(where, [f"it must have a column 'audio' (paths) or 'text', but has {names}.{hint}"])


def name_rows(flat: list[dict[str, Any]]) -> None:
    """Give rows without id the stem of their file, its whole path where stems collide, or their number."""
    nameless = [row for row in flat if row.get("id") is None]
    stems = Counter(Path(row["audio"]).stem for row in nameless if isinstance(row.get("audio"), str))
    for number, row in enumerate(flat, start=1):
        if row.get("id") is None:
            path = row.get("audio")
            stem = Path(path).stem if isinstance(path, str) else ""
            row["id"] = (stem if stems[stem] == 1 else str(path)) if stem else f"row {number}"


def flat_row(row: Mapping[str, Any], number: int, problems: list[str]) -> dict[str, Any]:
    """Return a row with nested labels as columns and aliases resolved; append what is wrong to ``problems``."""
    flat = {ALIASES.get(k, k): v for k, v in row.items() if k != "labels"}
    labels = row.get("labels") or {}
    if isinstance(labels, Mapping):
        flat |= {k: v for k, v in labels.items() if k not in flat}
    else:
        problems.append(f"row {number}: labels must be an object, but is {type(labels).__name__}")
    for name, value in flat.items():
        if isinstance(value, Mapping | list) and name != "audio":
            problems.append(f"row {number}: {name} must be one value, but is {type(value).__name__}")
            flat[name] = None
    for name in ("id", "audio"):
        if flat.get(name) is not None and not isinstance(flat[name], str):
            flat[name] = str(flat[name]) if isinstance(flat[name], int | float) else None
    if not flat.get("audio") and not flat.get("audio_bytes") and not flat.get("text"):
        problems.append(f"row {number}: must have audio or text, but has neither")
    return flat


def typed_column(name: str, values: list[Any], problems: list[str]) -> pa.Array:
    """Return values in the column's type; labels that are all numbers become numbers. Append what is wrong."""
    kind = STANDARD_COLUMNS.get(name)
    if kind is None:
        return _label_column(values)
    return pa.array([_converted(name, v, kind, i, problems) for i, v in enumerate(values, start=1)], kind)


def _converted(name: str, value: Any, kind: pa.DataType, number: int, problems: list[str]) -> Any:
    if value is None or value == "":
        return None
    try:
        if pa.types.is_string(kind):
            return value if isinstance(value, str) else str(value)
        if pa.types.is_binary(kind):
            return value if isinstance(value, bytes) else bytes(value)
        converted = float(value)
        if not np.isfinite(converted) or (converted < 0):
            raise ValueError
        return int(converted) if pa.types.is_integer(kind) else converted
    except (TypeError, ValueError, OverflowError):
        problems.append(f"row {number}: {name} must be a non-negative number, but is {value!r}")
        return None


def _label_column(values: list[Any]) -> pa.Array:
    """Numbers stay numbers when every value is one; everything else is text."""
    present = [v for v in values if v is not None]
    if present and all(isinstance(v, bool) for v in present):
        return pa.array(values, pa.bool_())
    if present and all(isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**53 for v in present):
        return pa.array(values, pa.int64())
    if present and all(isinstance(v, str) and v.strip().lstrip("+-").isdecimal() and len(v) < 16 for v in present):
        return pa.array([None if v is None else int(v) for v in values], pa.int64())
    numbers = [None if v is None else _number(v) for v in values]
    if present and all(n is not None for n, v in zip(numbers, values, strict=True) if v is not None):
        return pa.array(numbers, pa.float64())
    return pa.array([None if v is None else str(v) for v in values], pa.string())


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None
