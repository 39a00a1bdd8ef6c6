"""Check the rows of a table of clips: each must have a unique id, and usable audio or text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath, PureWindowsPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from sonolex.data.problems import Places

pc: Any = pyarrow.compute  # its functions are created at import, where type checkers do not see them
ROWS = Places()


def with_ids(columns: dict[str, pa.ChunkedArray], num_rows: int) -> dict[str, pa.ChunkedArray]:
    """Return the columns with an id in every row: the file's stem, its path where stems collide, its place in it, or
    the row's number."""
    ids = columns.get("id")
    if ids is not None and not ids.null_count:
        return columns
    row_ids: list[Any] = ids.to_pylist() if ids is not None else [None] * num_rows
    paths: list[Any] = columns["audio"].to_pylist() if "audio" in columns else [None] * num_rows
    nameless = [r for r, name in enumerate(row_ids) if name is None]
    named = stems([paths[r] for r in nameless])
    twice = {name for name, count in Counter(named).items() if count > 1}
    offsets = columns["offset_s"].to_pylist() if twice and "offset_s" in columns else [None] * num_rows
    for row, name in zip(nameless, named, strict=True):
        excerpt = f"@{offsets[row]}" if name in twice and offsets[row] is not None else ""
        row_ids[row] = f"{name}{excerpt}" if name else f"row {row + 1}"
    return {"id": pa.chunked_array([pa.array(row_ids, pa.string())])} | {n: c for n, c in columns.items() if n != "id"}


def row_problems(columns: dict[str, pa.ChunkedArray], places: Places = ROWS) -> list[str]:
    """Return what is wrong with rows: repeated ids, neither audio nor text, audio that lasts no time."""
    problems = id_problems(columns["id"], places)
    has = {n: columns[n].is_valid() for n in ("audio", "audio_bytes", "text") if n in columns}
    sound = _either([has[n] for n in ("audio", "audio_bytes") if n in has])
    anything = _either([*has.values()])
    assert anything is not None
    problems += _where(pc.invert(anything), "must have audio or text, but has neither", places)
    if sound is not None and "duration_s" in columns:
        silent = pc.and_(sound, pc.fill_null(pc.equal(columns["duration_s"], 0.0), False))
        problems += _where(silent, "duration_s of audio must be positive, but is 0", places)
    if sound is not None and "sampling_rate" in columns:
        still = pc.and_(sound, pc.fill_null(pc.equal(columns["sampling_rate"], 0), False))
        problems += _where(still, "sampling_rate must be positive, but is 0", places)
    return problems


def id_problems(ids: pa.ChunkedArray, places: Places = ROWS) -> list[str]:
    """Return what is wrong with ids: missing, or that of an earlier row."""
    problems = _where(pc.is_null(ids), "id must be given, but is missing", places)
    if pc.count_distinct(ids).as_py() == len(ids) - ids.null_count:
        return problems
    first: dict[str, int] = {}
    for row, name in enumerate(ids.to_pylist()):
        if name is not None and first.setdefault(name, row) != row:
            problems.append(f"{places.one(row)}: id {name!r} is already the id of {places.one(first[name])}")
    return problems


def _either(masks: Sequence[Any]) -> Any:
    union = masks[0] if masks else None
    for mask in masks[1:]:
        union = pc.or_(union, mask)
    return union


def _where(mask: Any, problem: str, places: Places) -> list[str]:
    """Return the problem of every row of a mask."""
    if not pc.any(mask).as_py():
        return []
    return [f"{places.one(int(r))}: {problem}" for r in np.flatnonzero(np.array(mask.to_pylist(), bool))]


def stems(paths: Sequence[str | None]) -> list[str | None]:
    """Return file names without suffix where no other row has the same, else the whole path; None without a path."""
    stems = [(PureWindowsPath if "\\" in p else PurePath)(p).stem or None if p else None for p in paths]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else path or None for stem, path in zip(stems, paths, strict=True)]
