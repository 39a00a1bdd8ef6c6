"""Tables as people write them, CSV, TSV, JSONL and plain Python rows, as Arrow tables for `sonolex.data.columns`.

All problems of a table are reported at once, by line or row and field. How text is read:

- **Lines** end with a line feed, or in CSV and TSV also with carriage returns: other characters that some programs take
  for line ends (U+2028, U+0085, form feeds) are part of a cell. Problems name lines as an editor counts them.
- **CSV** is separated by commas, semicolons or tabs, whichever the header has most of, or by a first line "sep=;".
  In a file with semicolons or tabs, a column of numbers may have decimal commas. Columns without a name are left out,
  with a note, where they are empty (Excel) or number the rows (pandas).
- **Labels** that look like numbers become numbers only if nothing is lost: every value a whole number as it is usually
  written ("7", not "07", "+7" or one of 2^53 and more), or decimal numbers of which each is written in one way only
  or at least one has a fraction ("3.50"). Otherwise every value is a class of its own, as it is written, with a
  note. In a column of numbers, "NA", "nan", "null" and "inf" count as missing, also with a note.
- **Missing** is the empty cell, null, or NaN.
- **Lists** are several labels of one clip (`sonolex.labels`); an empty list is a clip that is known to have none.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sonolex.data.arrow_files import MOST_COLUMNS, regular_size
from sonolex.data.column_names import ALIASES, meaning, named
from sonolex.data.columns import MISSING_WORDS, NUMBER, STANDARD_COLUMNS
from sonolex.data.problems import Findings, ManifestError, Places
from sonolex.labels import joined_tags

FORMATS = (".arrow", ".parquet", ".csv", ".tsv", ".jsonl")
MOST_TEXT_BYTES = 1 << 30  # of a table as text; larger ones belong into Parquet
MOST_CELL_CHARACTERS = 1 << 20  # of a CSV cell or a JSON line
WHOLE = re.compile(r"0|-?[1-9]\d*", re.ASCII)
SEPARATOR_LINE = re.compile(r"sep=([,;\t])", re.ASCII)  # what Excel may write above the header
COMMA = re.compile(r"[+-]?\d+(,\d+)?", re.ASCII)  # a number as it is written in Berlin
DECIMAL = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
EXCEL = ' (Excel: "CSV UTF-8")'
SURROGATE = re.compile("[\ud800-\udfff]")
LARGEST_WHOLE = 2**53  # from here on a float is no longer exact
INFINITE_WORDS = frozenset({"inf", "+inf", "-inf", "infinity", "-infinity"})
BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"PK\x03\x04": "a ZIP archive (Excel?)"}
BYTE_ORDER_MARKS |= {b"\x1f\x8b": "compressed with gzip", b"PAR1": "Parquet", b"ARROW1": "Arrow"}


@dataclass(frozen=True)
class Read:
    """A table as it was read: columns for `conformed`, and the findings: notes, and values that no column can hold."""

    table: pa.Table
    found: Findings


def csv_table(path: Path, *, chosen: Mapping[str, str] | None = None) -> Read:
    """Return a CSV or TSV file as a table; the delimiter is guessed from the header.

    Args:
        chosen: which columns are audio, text and speaker (`sonolex.data.column_names.named`).

    Raises:
        ManifestError: every line with too many or too few cells, and nameless or repeated columns.
    """
    where, text = str(path), _decoded(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    lines, numbers = _cells(text, delimiter, where)
    if not lines:
        raise ManifestError(where, ["it is empty"])
    header = [cell.strip() for cell in lines[0]]
    problems = [
        f"line {number}: must have {len(header)} cells, but has {len(line)}"
        for number, line in zip(numbers[1:], lines[1:], strict=True)
        if len(line) != len(header)
    ]
    if problems:
        cure = (
            f"Put quotes round cells that hold {delimiter!r} or a line end, and give every column a cell in every line."
        )
        raise ManifestError(where, problems, cure=cure)
    findings = Findings(Places(numbers[1:]))
    written = [[line[place].strip() or None for line in lines[1:]] for place in range(len(header))]
    kept = [i for i, name in enumerate(header) if name or not _may_be_dropped(i, written[i], findings)]
    names = named([header[i] for i in kept], where=where, chosen=chosen)
    findings.notes += names.notes
    columns: dict[str, pa.Array] = {}
    for place in kept:
        if header[place] in names.names:
            name = names.names[header[place]]
            words = written[place] if delimiter == "," else _with_points(name, written[place], findings)
            is_text = STANDARD_COLUMNS.get(ALIASES.get(name, name)) is not None
            columns[name] = pa.array(words, pa.string()) if is_text else _text_label(name, words, findings)
    return Read(_without_empty(columns), findings)


def jsonl_table(path: Path, *, chosen: Mapping[str, str] | None = None) -> Read:
    """Return a file of one JSON object a line as a table.

    Raises:
        ManifestError: every line that is not an object, has a field twice, or is too long.
    """
    rows, lines, problems = [], [], []
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        if len(line) > MOST_CELL_CHARACTERS:
            problems.append(f"line {number}: must have at most {MOST_CELL_CHARACTERS:,} characters, but has more")
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as e:  # ValueError: also integers of more than 4,300 digits
            problems.append(f"line {number}: is not JSON: {e}")
            continue
        if isinstance(row, dict):
            rows.append(row)
            lines.append(number)
        else:
            problems.append(f"line {number}: must be an object, but is {type(row).__name__}")
    if problems:
        raise ManifestError(str(path), problems)
    return rows_table(rows, where=str(path), places=Places(lines), chosen=chosen)


def rows_table(
    rows: Sequence[Mapping[str, Any]],
    *,
    where: str,
    places: Places | None = None,
    chosen: Mapping[str, str] | None = None,
) -> Read:
    """Return plain dictionaries as a table, nested ``labels`` as columns.

    Raises:
        ManifestError: no rows, or names that cannot be columns.
    """
    if not rows:
        raise ManifestError(where, ["it has no rows"])
    findings = Findings(places or Places())
    flat = [_flat_row(row, number, findings) for number, row in enumerate(rows)]
    names = named(list(dict.fromkeys(name for row in flat for name in row)), where=where, chosen=chosen)
    findings.notes += names.notes
    columns: dict[str, pa.Array] = {}
    for written, name in names.names.items():
        values = [_present(row.get(written)) for row in flat]
        kind = STANDARD_COLUMNS.get(ALIASES.get(name, name))
        try:
            columns[name] = (_label_values if kind is None else _standard_values)(name, values, findings)
        except UnicodeEncodeError:  # JSON can hold half of a surrogate pair
            for row in _unencodable(values):
                findings.wrong(row, f"{name} must be text, but holds half a character")
            columns[name] = pa.nulls(len(values), pa.string())
    return Read(_without_empty(columns), findings)


def _without_empty(columns: Mapping[str, pa.Array]) -> pa.Table:
    """Return the table without standard columns in which no row has a value.

    An empty one stays if another column would otherwise take its name (`named`).
    """
    empty = [n for n, c in columns.items() if ALIASES.get(n, n) in STANDARD_COLUMNS and c.null_count == len(c)]
    kept = {n: c for n, c in columns.items() if n not in empty or any(m != n and meaning(m) == n for m in columns)}
    return pa.table(kept or dict(columns))


def _decoded(path: Path) -> str:
    try:
        size = regular_size(path)
    except ValueError as e:
        raise ManifestError(str(path), [str(e).removeprefix(f"{path} ")]) from None
    if size > MOST_TEXT_BYTES:
        limit = f"{MOST_TEXT_BYTES:,}"
        raise ManifestError(str(path), [f"it must have at most {limit} bytes, but has {size:,}: write it as .parquet"])
    content = path.read_bytes()
    other_format = next((kind for mark, kind in BYTE_ORDER_MARKS.items() if content.startswith(mark)), None)
    if other_format is not None:
        raise ManifestError(str(path), [f"it must be UTF-8 text, but is {other_format}: save it as UTF-8 text{EXCEL}"])
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise ManifestError(str(path), [f"it holds NUL bytes (line {line}), so it is no UTF-8 text (UTF-16?)"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line, byte = content.count(b"\n", 0, e.start) + 1, content[e.start]
        problem = f"it must be UTF-8 text, but line {line} holds byte 0x{byte:02x} (Latin-1?)"
        raise ManifestError(str(path), [f"{problem}: save it as UTF-8 text{EXCEL}"]) from None


def _cells(text: str, delimiter: str, where: str) -> tuple[list[list[str]], list[int]]:
    """Return the records of a CSV text that hold anything, and the lines they begin on.

    Python's limit on the length of a cell is raised meanwhile.
    """
    before = csv.field_size_limit(MOST_CELL_CHARACTERS)
    records, numbers, begins = [], [], 1
    says_separator = SEPARATOR_LINE.match(text) is not None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for record in reader:
            if any(cell.strip() for cell in record) and not (begins == 1 and says_separator):
                records.append(record)
                numbers.append(begins)
            if len(record) > MOST_COLUMNS:
                raise ManifestError(
                    where, [f"line {begins}: must have at most {MOST_COLUMNS:,} cells, but has {len(record):,}"]
                )
            begins = reader.line_num + 1
    except csv.Error as e:
        unbalanced = "a quote is not closed, or is not doubled inside a quoted cell"
        reason = {"unexpected end of data": unbalanced, f"'{delimiter}' expected after '\"'": unbalanced}
        raise ManifestError(
            where, [f"line {begins} to {reader.line_num}: cannot be read as CSV: {reason.get(str(e), e)}"]
        ) from None
    finally:
        csv.field_size_limit(before)
    return records, numbers


def _delimiter(text: str) -> str:
    """Return the separator of cells: that of Excel's first line "sep=;", else the one the header has most of."""
    first = io.StringIO(text, newline="").readline()
    separator = SEPARATOR_LINE.fullmatch(first.strip("\r\n"))
    if separator:
        return separator[1]
    unquoted = re.sub(r'"[^"]*"', "", first)
    return max((",", ";", "\t"), key=unquoted.count)


def _may_be_dropped(place: int, words: Sequence[str | None], findings: Findings) -> bool:
    """Return whether a column without a name may be left out: it is empty, or numbers the rows. Add a note if so."""
    empty = not any(words)
    if empty or [*words] in ([str(i) for i in range(len(words))], [str(i + 1) for i in range(len(words))]):
        what = "is empty" if empty else "numbers the rows"
        findings.notes.append(f"column {place + 1} has no name and {what}: left out")
        return True
    return False


def _with_points(name: str, words: list[str | None], findings: Findings) -> list[str | None]:
    """Return a column of numbers with decimal points for commas, and note it; any other column unchanged."""
    numbers = [w for w in words if w is not None and w.lower() not in MISSING_WORDS]
    is_number = STANDARD_COLUMNS.get(ALIASES.get(name, name), pa.float64()) == pa.float64()
    example = next((w for w in numbers if "," in w), None)
    if not is_number or example is None or not all(COMMA.fullmatch(w) for w in numbers):
        return words
    findings.notes.append(f"column {name!r} has decimal commas: {example} is read as {example.replace(',', '.')}")
    return [w if w is None else w.replace(",", ".") for w in words]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's fields. Raises ValueError if one is there twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = [name for name, count in Counter(n for n, _ in pairs).items() if count > 1]
        raise ValueError(f"field {twice[0]!r} is there twice")
    return fields


def _flat_row(row: Mapping[str, Any], number: int, findings: Findings) -> dict[str, Any]:
    """Return a row with nested labels and embedded audio as columns, and lists of labels joined."""
    flat = dict(row)
    if isinstance(flat.get("labels"), Mapping) or flat.get("labels", 0) is None:
        labels = flat.pop("labels") or {}
        for name, value in labels.items():
            if str(flat.setdefault(name, value)) != str(value):
                findings.wrong(number, f"{name} must be one value, but is {flat[name]!r}, as a label {value!r}")
    sound = flat.get("audio")
    if isinstance(sound, Mapping) and set(sound) <= {"bytes", "path"}:  # as Hugging Face datasets have it
        flat["audio"] = sound.get("path") if sound.get("bytes") is None else None
        if sound.get("bytes") is not None:
            flat["audio_bytes"] = sound["bytes"]
    for name, value in flat.items():
        if isinstance(value, list | tuple | set | frozenset) and meaning(name) not in STANDARD_COLUMNS:
            flat[name] = _joined(name, value, number, findings)
        elif isinstance(value, Mapping | list | tuple | set):
            findings.wrong(number, f"{name} must be one value, but is {type(value).__name__}")
            flat[name] = None
    return flat


def _joined(name: str, values: Collection[Any], row: int, findings: Findings) -> str | None:
    try:
        joined = joined_tags(sorted(values, key=str) if isinstance(values, set | frozenset) else values)
    except ValueError as e:
        findings.wrong(row, f"{name} {e}")
        return None
    if name not in findings.lists:
        findings.lists.append(name)
    return joined


def _present(value: Any) -> Any:
    """Return a value as plain Python, None where it is missing: null, NaN, blank text."""
    value = value.item() if isinstance(value, np.generic) else value
    missing = (isinstance(value, float) and np.isnan(value)) or (isinstance(value, str) and not value.strip())
    return None if missing else value


def _standard_values(name: str, values: list[Any], findings: Findings) -> pa.Array:
    """Return values of a standard column as text, numbers or bytes, for `sonolex.data.columns` to read."""
    kind = STANDARD_COLUMNS[ALIASES.get(name, name)]
    if pa.types.is_binary(kind):
        wrong = {r for r, v in enumerate(values) if v is not None and not isinstance(v, bytes | bytearray)}
        for row in sorted(wrong):
            findings.wrong(row, f"{name} must be bytes, but is {type(values[row]).__name__}")
        return pa.array([None if r in wrong else v for r, v in enumerate(values)], pa.binary())
    wrong = {r for r, v in enumerate(values) if not isinstance(v, str | int | float | None) or type(v) is bool}
    wanted = "text" if pa.types.is_string(kind) else "a non-negative number"
    for row in sorted(wrong):
        findings.wrong(row, f"{name} must be {wanted}, but is {values[row]!r}")
    return pa.array([None if v is None or r in wrong else str(v) for r, v in enumerate(values)], pa.string())


def _label_values(name: str, values: list[Any], findings: Findings) -> pa.Array:
    """Return labels of plain Python rows: all yes or no, all numbers, or text; mixtures of the last two are text."""
    kinds = {type(v) for v in values if v is not None}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    wrong = [r for r, v in enumerate(values) if not isinstance(v, str | int | float | None) or type(v) is bool]
    if wrong:
        for row in wrong:
            findings.wrong(row, f"{name} must be text or a number, but is {values[row]!r}")
        return pa.nulls(len(values), pa.string())
    if kinds == {int} and all(v is None or abs(v) < LARGEST_WHOLE for v in values):
        return pa.array(values, pa.int64())
    if kinds and kinds <= {int, float} and all(v is None or abs(v) < LARGEST_WHOLE or v == np.inf for v in values):
        return _floats_of(name, values, findings)
    if name in findings.lists:
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    if kinds == {str}:
        return _text_label(name, values, findings)
    if kinds:
        findings.notes.append(
            f"labels {name!r} are text, because some are not numbers below 2^53: each is a class as it is written"
        )
    return pa.array([None if v is None else str(v) for v in values], pa.string())


def _floats_of(name: str, values: list[Any], findings: Findings) -> pa.Array:
    """Return numbers, with null for those that are not finite, and note it."""
    odd = [r for r, v in enumerate(values) if v is not None and not np.isfinite(v)]
    findings.missing(name, (f"{values[r]:g}" for r in odd), odd)
    return pa.array([None if r in set(odd) or v is None else float(v) for r, v in enumerate(values)], pa.float64())


def _text_label(name: str, words: list[str | None], findings: Findings) -> pa.Array:
    """Return written labels as numbers where that loses nothing, else as text; see the module."""
    different = dict.fromkeys(w for w in words if w is not None)
    missing = {w for w in different if w.strip().lower() in MISSING_WORDS | INFINITE_WORDS}
    numbers = [w for w in different if w not in missing]
    if not numbers or not all(NUMBER.fullmatch(w) for w in numbers):
        return pa.array(words, pa.string())
    if all(map(_is_whole, numbers)):
        number_of: dict[str, int | float] = {w: int(w) for w in numbers}
    elif all(DECIMAL.fullmatch(w) and np.isfinite(float(w)) for w in numbers) and _are_quantities(numbers):
        number_of = {w: float(w) for w in numbers}
    else:
        odd = next(w for w in numbers if not _is_whole(w))
        findings.notes.append(
            f"labels {name!r} look like numbers but stay text, each as it is written (such as {odd!r})"
        )
        return pa.array(words, pa.string())
    rows = [r for r, w in enumerate(words) if w in missing]
    findings.missing(name, missing, rows)
    kind = pa.int64() if all(isinstance(v, int) for v in number_of.values()) else pa.float64()
    return pa.array([number_of.get(w) if w is not None else None for w in words], kind)


def _is_whole(word: str) -> bool:
    """Return whether a text is a whole number as it is usually written, and small enough for a float to hold."""
    return bool(WHOLE.fullmatch(word)) and len(word) <= len(str(-LARGEST_WHOLE)) and abs(int(word)) < LARGEST_WHOLE


def _are_quantities(numbers: Sequence[str]) -> bool:
    """Return whether decimal numbers may be read as numbers: each is written in one way, or some have a fraction."""
    return all(repr(float(w)) == w for w in numbers) or any(not float(w).is_integer() for w in numbers)


def _unencodable(values: Sequence[Any]) -> list[int]:
    """Return the rows whose text is invalid: it holds half of a surrogate pair."""
    return [r for r, v in enumerate(values) if isinstance(v, str) and not v.isascii() and SURROGATE.search(v)]
