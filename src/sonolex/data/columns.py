"""The columns of a table of clips: their names, their types, and the checks that every format goes through.

A table comes in from CSV, JSONL, Parquet, Arrow or plain Python with whatever types it has; `conformed` returns it with
the standard columns in theirs, or lists everything that is wrong with it at once, by row and column. All of it works on
whole columns: a million rows take a second or two.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from sonolex.data.arrow_files import MOST_COLUMNS, decoded
from sonolex.data.rows import row_problems, stems, with_ids

pc: Any = pyarrow.compute  # made at import, so that type checkers do not see its functions
STANDARD_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "audio": pa.string(),
    "audio_bytes": pa.binary(),
    "audio_digest": pa.string(),
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
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null"})  # what tables write for a number that is not there
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
ROWS_NAMED = 5


class ManifestError(ValueError):
    """A manifest that cannot be used; the message lists every problem found, not only the first."""

    def __init__(self, where: str, problems: Sequence[str], *, cure: str = ""):
        self.problems = list(problems)
        shown = "".join(f"\n  - {p}" for p in self.problems[:50])
        more = f"\n  … and {len(self.problems) - 50} more" if len(self.problems) > 50 else ""
        super().__init__(f"{where} has {len(self.problems)} problem(s):{shown}{more}" + (f"\n{cure}" if cure else ""))


def conformed(table: pa.Table, *, where: str, found: Sequence[str] = ()) -> tuple[pa.Table, list[str]]:
    """Return a table with standard columns in their types and order, labels as they are, and what has to be said.

    Every row then has an id that no other one has, and audio or text; numbers are finite and not negative; missing is
    null, in text columns also the empty text; a label column holds text, numbers, or yes and no.

    Args:
        found: problems that reading the table has found already.

    Raises:
        ManifestError: all problems at once.
    """
    problems, notes = list(found), []
    columns = _with_plain_audio(_named(table, where), problems)
    made: dict[str, pa.ChunkedArray] = {}
    for name in [*(n for n in STANDARD_COLUMNS if n in columns), *sorted(set(columns) - set(STANDARD_COLUMNS))]:
        read = _standard if name in STANDARD_COLUMNS else _label
        made[name] = read(name, columns[name], problems, notes)
    if not any(p.startswith("column") for p in problems):  # rows cannot be judged by a column that is not one
        made = with_ids(made, table.num_rows)
        problems += row_problems(made)
    if problems:
        raise ManifestError(where, problems)
    return pa.table(made), notes


def standard_column(name: str, values: Any) -> pa.ChunkedArray:
    """Return values as the standard column ``name``.

    Raises:
        ManifestError: values that cannot be in it.
    """
    problems: list[str] = []
    try:
        found = _standard(name, chunked(pa.array(values, from_pandas=True)), problems, [])
    except (pa.ArrowException, UnicodeEncodeError) as e:
        raise ManifestError(f"column {name!r}", [" ".join(str(e).split())]) from None
    if problems:
        raise ManifestError(f"column {name!r}", problems)
    return found


def label_column(name: str, values: Any) -> pa.ChunkedArray:
    """Return values as a label column, NaN as missing.

    Raises:
        ManifestError: values that are not all text, all numbers, or all yes and no.
    """
    problems: list[str] = []
    try:
        found = _label(name, chunked(pa.array(values, from_pandas=True)), problems, [])
    except (pa.ArrowException, UnicodeEncodeError) as e:
        raise ManifestError(f"column {name!r}", [" ".join(str(e).split())]) from None
    if problems:
        raise ManifestError(f"column {name!r}", problems)
    return found


def note_missing(name: str, words: Iterable[str], rows: Sequence[int] | np.ndarray, notes: list[str]) -> None:
    """Append a sentence on values of a column of numbers that are none, if there are any."""
    if len(rows):
        listed = ", ".join(sorted(map(repr, set(words)))[:ROWS_NAMED])
        verb = "value is no number" if len(rows) == 1 else "values are no numbers"
        notes.append(f"{name!r}: {len(rows)} {verb} ({listed}) and counted as missing: {rows_named(rows)}")


def rows_named(rows: np.ndarray | Sequence[int]) -> str:
    """Return row numbers, from 1, of row indices, the first few by number.

    >>> rows_named([0, 1, 2, 3, 4, 5, 6])
    'rows 1, 2, 3, 4, 5 and 2 more'
    """
    shown = ", ".join(str(int(r) + 1) for r in list(rows)[:ROWS_NAMED])
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}{more}"


def floats(column: pa.ChunkedArray) -> np.ndarray:
    """Return float64 values, NaN for null, straight from Arrow's buffers: its to_numpy imports pandas (45 MB)."""
    pieces = [np.zeros(0)]
    for chunk in column.cast(pa.float64()).chunks:
        filled = pc.fill_null(chunk, float("nan")) if chunk.null_count else chunk
        values = np.frombuffer(filled.buffers()[1], np.float64)  # type: ignore[arg-type]
        pieces.append(values[filled.offset : filled.offset + len(filled)])
    return np.concatenate(pieces)


def _named(table: pa.Table, where: str) -> dict[str, pa.ChunkedArray]:
    """Return the columns by name, nested labels beside the others and aliases resolved.

    Raises:
        ManifestError: no rows, nameless columns, two columns that mean the same, too many, neither audio nor text.
    """
    if not table.num_rows:
        raise ManifestError(where, ["it has no rows"])
    pairs: list[tuple[str, pa.ChunkedArray]] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name == "labels" and pa.types.is_struct(column.type):
            flat = pa.table({"labels": column}).flatten()
            pairs += [(n.removeprefix("labels."), c) for n, c in zip(flat.column_names, flat.columns, strict=True)]
        else:
            pairs.append((name, column))
    require_names([name for name, _ in pairs], where)
    return {ALIASES.get(name, name): column for name, column in pairs}


def require_names(names: Sequence[str], where: str) -> None:
    """Raise ManifestError if columns cannot be told apart, or no column can hold audio or text."""
    if len(names) > MOST_COLUMNS:
        raise ManifestError(where, [f"it must have at most {MOST_COLUMNS:,} columns, but has {len(names):,}"])
    problems = [f"header: column {n!r} occurs twice" for n, count in Counter(names).items() if count > 1]
    problems += [f"header: column {i + 1} has no name" for i, n in enumerate(names) if not n.strip()]
    meanings: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        meanings.setdefault(ALIASES.get(name, name), []).append(name)
    problems += [
        f"columns {' and '.join(map(repr, same))} mean the same ({meaning!r}): keep one, or rename it"
        for meaning, same in meanings.items()
        if len(same) > 1
    ]
    if not problems and not {"audio", "audio_bytes", "text"} & set(meanings):
        import difflib

        nearest = difflib.get_close_matches("audio", list(meanings), n=1, cutoff=0.5)
        hint = f" Did you mean {nearest[0]!r} to be 'audio'?" if nearest else ""
        shown = f"{list(meanings)[:20]}" + (f" and {len(meanings) - 20} more" if len(meanings) > 20 else "")
        problems = [f"it must have a column 'audio' (paths) or 'text', but has {shown}.{hint}"]
    if problems:
        raise ManifestError(where, problems)


def _with_plain_audio(columns: dict[str, pa.ChunkedArray], problems: list[str]) -> dict[str, pa.ChunkedArray]:
    """Return the columns with embedded audio in ``audio_bytes``: structs of bytes and path (Hugging Face), or bytes."""
    audio = columns.get("audio")
    if audio is None:
        return columns
    kind = audio.type
    if pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}:
        embedded, path = pc.struct_field(audio, "bytes"), pc.struct_field(audio, "path")
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        embedded, path = audio, chunked(pa.nulls(len(audio), pa.string()))
    else:
        return columns
    if "audio_bytes" in columns:
        problems.append("columns 'audio' and 'audio_bytes' must not both hold embedded audio: keep one")
        return columns
    rest = {n: c for n, c in columns.items() if n != "audio"}
    names = pc.if_else(pc.is_valid(embedded), pa.scalar(None, path.type), path)
    if "id" not in columns:
        rest["id"] = chunked(pa.array(stems(path.to_pylist()), pa.string()))
    return rest | {"audio": names, "audio_bytes": embedded}


def _standard(name: str, column: pa.ChunkedArray, problems: list[str], notes: list[str]) -> pa.ChunkedArray:
    """Return a column in its standard type; append what cannot be converted, by row."""
    wanted = STANDARD_COLUMNS[name]
    column = plain(name, column, problems)
    try:
        if pa.types.is_null(column.type):
            return column.cast(wanted)
        if pa.types.is_binary(wanted):
            return _embedded(name, column, problems)
        if pa.types.is_string(wanted):
            return _texts(name, column, problems)
        return _quantities(name, column, problems, notes).cast(wanted)
    except pa.ArrowException as e:
        problems.append(f"column {name!r} cannot be read as {wanted}: {' '.join(str(e).split())}")
        return chunked(pa.nulls(len(column), wanted))


def plain(name: str, column: pa.ChunkedArray, problems: list[str]) -> pa.ChunkedArray:
    """Return a column without dictionary and extension types."""
    try:
        if isinstance(column.type, pa.BaseExtensionType):
            column = chunked(pa.concat_arrays([c.storage for c in column.chunks]))
        return decoded(column)
    except (pa.ArrowException, ValueError) as e:
        problems.append(f"column {name!r}: {' '.join(str(e).split())}")
        return chunked(pa.nulls(len(column)))


def _embedded(name: str, column: pa.ChunkedArray, problems: list[str]) -> pa.ChunkedArray:
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column.cast(pa.binary())
    problems.append(f"column {name!r} must hold encoded files, but holds {column.type}")
    return chunked(pa.nulls(len(column), pa.binary()))


def _texts(name: str, column: pa.ChunkedArray, problems: list[str]) -> pa.ChunkedArray:
    """Return a column as text, null where it is blank; whole numbers and dates are written out."""
    kind = column.type
    if pa.types.is_floating(kind):  # what pandas makes of whole numbers when one is missing
        values = floats(column)
        odd = np.flatnonzero(~np.isnan(values) & (values != np.floor(values)) | np.isinf(values))
        if len(odd):
            shown = f"row {odd[0] + 1} is {values[odd[0]]:g}"
            problems.append(f"column {name!r} must hold text or whole numbers, but {shown}")
            return chunked(pa.nulls(len(column), pa.string()))
        return chunked(pa.array(np.nan_to_num(values), pa.int64(), mask=np.isnan(values), safe=False)).cast(pa.string())
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind)):
        problems.append(f"column {name!r} must hold text, but holds {kind}")
        return chunked(pa.nulls(len(column), pa.string()))
    return blank_to_null(column.cast(pa.string()))


def is_text(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is one of text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def blank_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text with null for what is empty or white space alone."""
    blank = pc.or_(pc.equal(pc.binary_length(column), 0), pc.utf8_is_space(column))
    if not pc.any(blank).as_py():
        return column
    return pc.if_else(pc.fill_null(blank, False), pa.scalar(None, pa.string()), column)


def _quantities(name: str, column: pa.ChunkedArray, problems: list[str], notes: list[str]) -> pa.ChunkedArray:
    """Return finite numbers that are not negative, null where missing."""
    if is_text(column.type):
        column = _parsed(name, column.cast(pa.string()), problems, notes)
    elif not (
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    ):
        problems.append(f"column {name!r} must hold numbers, but holds {column.type}")
        return chunked(pa.nulls(len(column), STANDARD_COLUMNS[name]))
    column = column.cast(pa.float64())
    values = floats(column)
    with np.errstate(invalid="ignore"):
        wrong = ~np.isnan(values) & ~((values >= 0) & (values < np.inf))
        if STANDARD_COLUMNS[name] == pa.int64():
            wrong |= ~np.isnan(values) & (values != np.floor(values))
    kind = "non-negative whole number" if STANDARD_COLUMNS[name] == pa.int64() else "non-negative number"
    problems += [f"row {r + 1}: {name} must be a {kind}, but is {values[r]:g}" for r in np.flatnonzero(wrong)]
    return chunked(pa.array(values, pa.float64(), mask=np.isnan(values) | wrong))


def _parsed(name: str, column: pa.ChunkedArray, problems: list[str], notes: list[str]) -> pa.ChunkedArray:
    """Return the numbers that a column of text writes out; null for `MISSING_WORDS`, which are said."""
    encoded = column.combine_chunks().dictionary_encode()
    words = encoded.dictionary.to_pylist()
    numbers = [float(w) if NUMBER.fullmatch(w.strip()) else None for w in words]
    missing = [w.strip().lower() in MISSING_WORDS for w in words]
    rows = _rows_of(encoded, [n is None and not m for n, m in zip(numbers, missing, strict=True)])
    problems += [f"row {r + 1}: {name} must be a non-negative number, but is {column[r].as_py()!r}" for r in rows]
    said = [m and bool(w.strip()) for w, m in zip(words, missing, strict=True)]
    note_missing(name, (w for w, s in zip(words, said, strict=True) if s), _rows_of(encoded, said), notes)
    return chunked(pa.array(numbers, pa.float64()).take(encoded.indices))


def _rows_of(encoded: pa.DictionaryArray, marked: Sequence[bool]) -> np.ndarray:
    """Return the rows whose word is marked."""
    if not any(marked):
        return np.zeros(0, np.int64)
    chosen = pa.array(marked, pa.bool_()).take(encoded.indices)
    return np.flatnonzero(np.array(pc.fill_null(chosen, False).to_pylist(), bool))


def _label(name: str, column: pa.ChunkedArray, problems: list[str], notes: list[str]) -> pa.ChunkedArray:
    """Return a label column as text, numbers, or yes and no; append what holds anything else."""
    column = plain(name, column, problems)
    kind = column.type
    try:
        if pa.types.is_boolean(kind):
            return column
        if pa.types.is_integer(kind):
            return column.cast(pa.string() if pa.types.is_uint64(kind) else pa.int64())
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return _finite(name, column.cast(pa.float64()), notes)
        if is_text(kind) or pa.types.is_temporal(kind) or pa.types.is_null(kind):
            return blank_to_null(column.cast(pa.string()))
    except pa.ArrowException as e:
        problems.append(f"column {name!r} cannot be read: {' '.join(str(e).split())}")
        return chunked(pa.nulls(len(column), pa.string()))
    problems.append(f"column {name!r} must hold one value a row (text, numbers, yes and no), but holds {kind}")
    return chunked(pa.nulls(len(column), pa.string()))


def _finite(name: str, column: pa.ChunkedArray, notes: list[str]) -> pa.ChunkedArray:
    """Return numbers with null for NaN and infinity, which are said."""
    values = floats(column)
    odd = np.flatnonzero(~np.isfinite(values))
    odd = odd[np.array(column.is_valid().take(pa.array(odd)).to_pylist(), bool)]
    if not len(odd):
        return column
    note_missing(name, (f"{v:g}" for v in values[odd]), odd, notes)
    return chunked(pa.array(values, pa.float64(), mask=~np.isfinite(values)))


def chunked(array: Any) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
