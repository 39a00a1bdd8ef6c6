"""The columns of a table of clips: their names, their types, and the checks that every format goes through.

A table comes in from CSV, JSONL, Parquet, Arrow or plain Python with whatever types it has; `conformed` returns it with
the standard columns in their types, or lists all its problems at once, by row and column. All of it works on whole
columns: a million rows take a second or two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from sonolex.data.arrow_files import decoded
from sonolex.data.column_names import named
from sonolex.data.problems import Findings, ManifestError
from sonolex.data.rows import row_problems, stems, with_ids
from sonolex.labels import joined_tags

pc: Any = pyarrow.compute  # its functions are created at import, where type checkers do not see them
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
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null"})  # what tables write for a number that is not there
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def conformed(
    table: pa.Table, *, where: str, findings: Findings | None = None, chosen: Mapping[str, str] | None = None
) -> pa.Table:
    """Return a table with standard columns in their types and order, and labels as they are.

    Every row then has an id that no other one has, and audio or text; numbers are finite and not negative; missing is
    null, in text columns also the empty text; a label column holds text, numbers, or yes and no; lists of labels are
    joined (`sonolex.labels.joined_tags`).

    Args:
        findings: problems and notes from reading the table; further ones are added.
        chosen: which columns are audio, text and speaker (`sonolex.data.column_names.named`).

    Raises:
        ManifestError: all problems at once.
    """
    findings = Findings() if findings is None else findings
    columns = _with_plain_audio(_named(table, where, findings, chosen), findings)
    typed: dict[str, pa.ChunkedArray] = {}
    for name in [*(n for n in STANDARD_COLUMNS if n in columns), *sorted(set(columns) - set(STANDARD_COLUMNS))]:
        typed[name] = (_standard if name in STANDARD_COLUMNS else _label)(name, columns[name], findings)
    if not any(p.startswith("column") for p in findings.problems):  # rows cannot be judged by an unusable column
        typed = with_ids(typed, table.num_rows)
        findings.problems += row_problems(typed, findings.places)
    if findings.problems:
        raise ManifestError(where, findings.problems)
    return pa.table(typed)


def standard_column(name: str, values: Any) -> pa.ChunkedArray:
    """Return values as the standard column ``name``.

    Raises:
        ManifestError: values that cannot be in it.
    """
    return _checked(name, values, _standard)


def label_column(name: str, values: Any) -> pa.ChunkedArray:
    """Return values as a label column, NaN as missing.

    Raises:
        ManifestError: values that are not all text, all numbers, or all yes and no.
    """
    return _checked(name, values, _label)


def _checked(name: str, values: Any, read: Callable[[str, pa.ChunkedArray, Findings], pa.ChunkedArray]) -> Any:
    findings = Findings()
    try:
        column = read(name, chunked(pa.array(values, from_pandas=True)), findings)
    except (pa.ArrowException, UnicodeEncodeError) as e:
        raise ManifestError(f"column {name!r}", [" ".join(str(e).split())]) from None
    if findings.problems:
        raise ManifestError(f"column {name!r}", findings.problems)
    return column


def floats(column: pa.ChunkedArray) -> np.ndarray:
    """Return float64 values, NaN for null, straight from Arrow's buffers: its to_numpy imports pandas (45 MB)."""
    pieces = [np.zeros(0)]
    for chunk in column.cast(pa.float64()).chunks:
        filled = pc.fill_null(chunk, float("nan")) if chunk.null_count else chunk
        values = np.frombuffer(filled.buffers()[1], np.float64)  # type: ignore[arg-type]
        pieces.append(values[filled.offset : filled.offset + len(filled)])
    return np.concatenate(pieces)


def _named(
    table: pa.Table, where: str, findings: Findings, chosen: Mapping[str, str] | None
) -> dict[str, pa.ChunkedArray]:
    """Return the columns under the names of `named`, with nested labels as columns.

    Raises:
        ManifestError: no rows, or names that cannot be columns.
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
    names = named([name for name, _ in pairs], where=where, chosen=chosen)
    findings.notes += names.notes
    return {names.names[name]: column for name, column in pairs if name in names.names}


def _with_plain_audio(columns: dict[str, pa.ChunkedArray], findings: Findings) -> dict[str, pa.ChunkedArray]:
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
        findings.problems.append("columns 'audio' and 'audio_bytes' must not both hold embedded audio: keep one")
        return columns
    rest = {n: c for n, c in columns.items() if n != "audio"}
    names = pc.if_else(pc.is_valid(embedded), pa.scalar(None, path.type), path)
    if "id" not in columns:
        rest["id"] = chunked(pa.array(stems(path.to_pylist()), pa.string()))
    return rest | {"audio": names, "audio_bytes": embedded}


def _standard(name: str, column: pa.ChunkedArray, findings: Findings) -> pa.ChunkedArray:
    """Return a column in its standard type; report values that cannot be converted, by row."""
    wanted = STANDARD_COLUMNS[name]
    column = plain(name, column, findings)
    try:
        if pa.types.is_null(column.type):
            return column.cast(wanted)
        if pa.types.is_binary(wanted):
            return _embedded(name, column, findings)
        if pa.types.is_string(wanted):
            return _texts(name, column, findings)
        return _quantities(name, column, findings).cast(wanted)
    except pa.ArrowException as e:
        findings.problems.append(f"column {name!r} cannot be read as {wanted}: {' '.join(str(e).split())}")
        return chunked(pa.nulls(len(column), wanted))


def plain(name: str, column: pa.ChunkedArray, findings: Findings) -> pa.ChunkedArray:
    """Return a column without dictionary and extension types."""
    try:
        if isinstance(column.type, pa.BaseExtensionType):
            column = chunked(pa.concat_arrays([c.storage for c in column.chunks]))
        return decoded(column)
    except (pa.ArrowException, ValueError) as e:
        findings.problems.append(f"column {name!r}: {' '.join(str(e).split())}")
        return chunked(pa.nulls(len(column)))


def _embedded(name: str, column: pa.ChunkedArray, findings: Findings) -> pa.ChunkedArray:
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column.cast(pa.binary())
    findings.problems.append(f"column {name!r} must hold encoded files, but holds {column.type}")
    return chunked(pa.nulls(len(column), pa.binary()))


def _texts(name: str, column: pa.ChunkedArray, findings: Findings) -> pa.ChunkedArray:
    """Return a column as text, null where it is blank; whole numbers and dates are written out."""
    kind = column.type
    if pa.types.is_floating(kind):  # pandas turns whole numbers into floats when one is missing
        values = floats(column)
        odd = np.flatnonzero(~np.isnan(values) & (values != np.floor(values)) | np.isinf(values))
        if len(odd):
            shown = f"{findings.places.one(odd[0])} is {values[odd[0]]:g}"
            findings.problems.append(f"column {name!r} must hold text or whole numbers, but {shown}")
            return chunked(pa.nulls(len(column), pa.string()))
        return chunked(pa.array(np.nan_to_num(values), pa.int64(), mask=np.isnan(values), safe=False)).cast(pa.string())
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind)):
        findings.problems.append(f"column {name!r} must hold text, but holds {kind}")
        return chunked(pa.nulls(len(column), pa.string()))
    return blank_to_null(column.cast(pa.string()))


def is_text(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def blank_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text with null for cells that are empty or white space alone."""
    blank = pc.or_(pc.equal(pc.binary_length(column), 0), pc.utf8_is_space(column))
    if not pc.any(blank).as_py():
        return column
    return pc.if_else(pc.fill_null(blank, False), pa.scalar(None, pa.string()), column)


def _quantities(name: str, column: pa.ChunkedArray, findings: Findings) -> pa.ChunkedArray:
    """Return finite numbers that are not negative, null where missing."""
    if is_text(column.type):
        column = _parsed(name, column.cast(pa.string()), findings)
    elif not (
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    ):
        findings.problems.append(f"column {name!r} must hold numbers, but holds {column.type}")
        return chunked(pa.nulls(len(column), STANDARD_COLUMNS[name]))
    column = column.cast(pa.float64())
    values = floats(column)
    with np.errstate(invalid="ignore"):
        wrong = ~np.isnan(values) & ~((values >= 0) & (values < np.inf))
        if STANDARD_COLUMNS[name] == pa.int64():
            wrong |= ~np.isnan(values) & (values != np.floor(values))
    kind = "non-negative whole number" if STANDARD_COLUMNS[name] == pa.int64() else "non-negative number"
    for row in np.flatnonzero(wrong):
        findings.wrong(int(row), f"{name} must be a {kind}, but is {values[row]:g}")
    return chunked(pa.array(values, pa.float64(), mask=np.isnan(values) | wrong))


def _parsed(name: str, column: pa.ChunkedArray, findings: Findings) -> pa.ChunkedArray:
    """Return the numbers that a column of text writes out; null for `MISSING_WORDS`, which are noted."""
    encoded = column.combine_chunks().dictionary_encode()
    words = encoded.dictionary.to_pylist()
    numbers = [float(w) if NUMBER.fullmatch(w.strip()) else None for w in words]
    missing = [w.strip().lower() in MISSING_WORDS for w in words]
    rows = _rows_of(encoded, [n is None and not m for n, m in zip(numbers, missing, strict=True)])
    for row in rows:
        findings.wrong(row, f"{name} must be a non-negative number, but is {column[row].as_py()!r}")
    noted = [m and bool(w.strip()) for w, m in zip(words, missing, strict=True)]
    findings.missing(name, (w for w, s in zip(words, noted, strict=True) if s), _rows_of(encoded, noted))
    return chunked(pa.array(numbers, pa.float64()).take(encoded.indices))


def _rows_of(encoded: pa.DictionaryArray, marked: Sequence[bool]) -> np.ndarray:
    """Return the rows whose word is marked."""
    if not any(marked):
        return np.zeros(0, np.int64)
    chosen = pa.array(marked, pa.bool_()).take(encoded.indices)
    return np.flatnonzero(np.array(pc.fill_null(chosen, False).to_pylist(), bool))


def _label(name: str, column: pa.ChunkedArray, findings: Findings) -> pa.ChunkedArray:
    """Return a label column as text, numbers, or yes and no; report a column of anything else."""
    column = plain(name, column, findings)
    kind = column.type
    try:
        if pa.types.is_boolean(kind):
            return column
        if pa.types.is_integer(kind):
            return column.cast(pa.string() if pa.types.is_uint64(kind) else pa.int64())
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return _finite(name, column.cast(pa.float64()), findings)
        if is_text(kind) or pa.types.is_temporal(kind) or pa.types.is_null(kind):
            return blank_to_null(column.cast(pa.string()))
        if is_list(kind):
            return _joined(name, column, findings)
    except pa.ArrowException as e:
        findings.problems.append(f"column {name!r} cannot be read: {' '.join(str(e).split())}")
        return chunked(pa.nulls(len(column), pa.string()))
    findings.problems.append(f"column {name!r} must hold one value a row (text, numbers, yes and no), but holds {kind}")
    return chunked(pa.nulls(len(column), pa.string()))


def is_list(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is a list of text or whole numbers."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_one(kind) for is_one in lists):
        return False
    inner = kind.value_type
    return is_text(inner) or pa.types.is_integer(inner) or pa.types.is_null(inner)


def _joined(name: str, column: pa.ChunkedArray, findings: Findings) -> pa.ChunkedArray:
    """Return lists of labels as text, joined; see `sonolex.labels`."""
    cells: list[str | None] = []
    for row, values in enumerate(column.to_pylist()):
        try:
            cells.append(None if values is None else joined_tags(values))
        except ValueError as e:
            findings.wrong(row, f"{name} {e}")
            cells.append(None)
    findings.lists.append(name)
    return chunked(pa.array(cells, pa.string()))


def _finite(name: str, column: pa.ChunkedArray, findings: Findings) -> pa.ChunkedArray:
    """Return numbers with null for NaN and infinity, which are noted."""
    values = floats(column)
    odd = np.flatnonzero(~np.isfinite(values))
    odd = odd[np.array(column.is_valid().take(pa.array(odd)).to_pylist(), bool)]
    if not len(odd):
        return column
    findings.missing(name, (f"{v:g}" for v in values[odd]), odd)
    return chunked(pa.array(values, pa.float64(), mask=~np.isfinite(values)))


def chunked(array: Any) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
