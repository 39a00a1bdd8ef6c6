"""The columnar manifest: one row per clip, in Arrow. Read, write, validate, split.

``.arrow`` files are memory-mapped (a million clips open at once and cost only the pages that are touched);
``.parquet``, ``.csv``, ``.tsv`` and ``.jsonl`` are read into memory. Every other column than those below is a label and
is kept under its own name.

=================  =========================================================================
id                 unique name; default: the audio file's name without suffix, or the row's number
audio              path (relative to the manifest), or ``scheme://`` address
audio_bytes        the encoded file itself (shards); instead of ``audio``
offset_s           where the clip starts in the file; missing: the clip is the whole file
duration_s         length (of the excerpt, or of the file); missing: `Manifest.with_durations` reads headers
sampling_rate      Hz of the file
text               transcript; may be missing
language           of the transcript
speaker, session   who speaks, in which recording session
source_id          the recording a clip was cut from
split, fold        official division
=================  =========================================================================
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sonolex.audio.io import MAX_DURATION_S, AudioError, read_audio
from sonolex.data.tables import (
    FORMATS,
    STANDARD_COLUMNS,
    ManifestError,
    csv_rows,
    flat_row,
    jsonl_rows,
    name_rows,
    require_content,
    typed_column,
)

__all__ = ["FORMATS", "Clip", "Manifest", "ManifestError", "concatenate", "manifest_from_rows", "read_manifest"]
PROGRESS_FROM_ROWS = 2000  # about a second of headers


@dataclass(frozen=True)
class Clip:
    """One row of a manifest. ``audio`` is resolved: an absolute path, an address, or bytes; None if there is none.

    Without ``offset_s`` the clip is the whole file and ``duration_s`` only says how long that is.
    """

    id: str
    audio: str | bytes | None
    offset_s: float | None = None
    duration_s: float | None = None
    text: str | None = None
    speaker: str | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)

    def samples(self, rate_hz: int, *, max_duration_s: float = MAX_DURATION_S) -> np.ndarray:
        """Return the clip's mono samples (S,) at ``rate_hz``.

        Raises:
            AudioError: there is no audio, or it cannot be read (`sonolex.audio.io.read_audio`).
        """
        if self.audio is None:
            cure = "Leave the clip out, or name its file."
            raise AudioError("there is no audio", clip_id=self.id, file="none", field="audio", cure=cure)
        return read_audio(
            self.audio,
            rate_hz=rate_hz,
            clip_id=self.id,
            offset_s=self.offset_s or 0.0,
            duration_s=self.duration_s if self.offset_s is not None else None,
            max_duration_s=max_duration_s,
        )


class Manifest:
    """Rows as Arrow columns. ``root`` is the folder that relative audio paths start from."""

    def __init__(self, table: pa.Table, *, root: str | Path = "."):
        self.table, self.root = table, Path(root)
        self._labels = [n for n in table.column_names if n not in STANDARD_COLUMNS]

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        unread = int(np.isnan(self.durations_s).sum())
        length = f"{self.hours:.2f} h" + (f" and {unread} clips of unread length" if unread else "")
        return f"Manifest({len(self)} clips, {length}, labels {self._labels})"

    @property
    def label_columns(self) -> list[str]:
        return list(self._labels)

    @property
    def hours(self) -> float:
        """Hours of the clips whose length is known."""
        return float(np.nansum(self.durations_s)) / 3600 if "duration_s" in self.table.column_names else 0.0

    @property
    def durations_s(self) -> np.ndarray:
        """Durations (clips,), NaN where unknown."""
        if "duration_s" not in self.table.column_names:
            return np.full(len(self), np.nan)
        return _floats(self.table["duration_s"].cast(pa.float64()))

    def column(self, name: str) -> list[Any]:
        """Return a column as Python values; all None for a standard column that is absent.

        Raises:
            ValueError: no such column, with the nearest name.
        """
        if name in self.table.column_names:
            return self.table[name].to_pylist()
        if name in STANDARD_COLUMNS:
            return [None] * len(self)
        nearest = difflib.get_close_matches(name, self.table.column_names, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"manifest must have column {name!r}, but has {self.table.column_names}.{hint}")

    def __getitem__(self, row: int) -> Clip:
        names = self.table.column_names
        get = {n: self.table[n][row].as_py() for n in names if n != "audio_bytes"}
        audio: str | bytes | None = get.get("audio")
        if "audio_bytes" in names and self.table["audio_bytes"][row].is_valid:
            audio = self.table["audio_bytes"][row].as_py()
        elif isinstance(audio, str) and "://" not in audio:
            audio = str(self.root / audio)
        return Clip(
            id=get["id"],
            audio=audio or None,
            offset_s=get.get("offset_s"),
            duration_s=get.get("duration_s"),
            text=get.get("text"),
            speaker=get.get("speaker"),
            labels={n: get[n] for n in self._labels} | {"speaker": get.get("speaker")},
        )

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))

    def take(self, rows: Sequence[int] | np.ndarray) -> Manifest:
        """Return these rows, in this order."""
        return Manifest(self.table.take(pa.array(np.asarray(rows, np.int64))), root=self.root)

    def where(self, **values: Any) -> Manifest:
        """Return rows whose columns equal the values (a collection means any of them)."""
        keep = np.ones(len(self), bool)
        for name, wanted in values.items():
            allowed = set(wanted) if isinstance(wanted, list | tuple | set | frozenset) else {wanted}
            keep &= np.array([v in allowed for v in self.column(name)], bool)
        return self.take(np.flatnonzero(keep))

    def rows_of(self, ids: Iterable[str]) -> np.ndarray:
        """Return the row numbers of clip ids. Raises ValueError naming ids that are not there."""
        index = {clip_id: row for row, clip_id in enumerate(self.column("id"))}
        ids = list(ids)
        missing = [i for i in ids if i not in index]
        if missing:
            raise ValueError(f"manifest must have clips {missing[:5]} ({len(missing)} in all), but does not.")
        return np.array([index[i] for i in ids], np.int64)

    def with_column(self, name: str, values: Sequence[Any] | np.ndarray) -> Manifest:
        """Return a copy with a column added or replaced."""
        array = pa.array(values, STANDARD_COLUMNS.get(name))
        table = self.table
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, array)
        else:
            table = table.append_column(name, array)
        return Manifest(table, root=self.root)

    def with_absolute_audio(self) -> Manifest:
        """Return a copy whose audio paths no longer depend on ``root``."""
        if "audio" not in self.table.column_names:
            return self
        root = self.root.resolve()
        return self.with_column("audio", [p if not p or "://" in p else str(root / p) for p in self.column("audio")])

    def with_durations(self) -> Manifest:
        """Return a copy whose missing durations are read from the files' headers.

        Raises:
            ManifestError: every file whose header cannot be used.
        """
        probed, problems = self.probed(np.flatnonzero(np.isnan(self.durations_s)))
        if problems:
            raise ManifestError("manifest", list(problems.values()))
        return probed

    def probed(self, rows: Iterable[int]) -> tuple[Manifest, dict[int, str]]:
        """Return a copy with lengths and rates of ``rows`` from the files' headers, and what is wrong, by row.

        A length the table states is kept, and a row without audio has length 0. A bar is shown for many rows.
        """
        from rich.progress import track

        from sonolex.audio.io import AudioError, probe_audio

        durations, rates, problems = self.durations_s.copy(), self.column("sampling_rate"), {}
        rows = [int(row) for row in rows]
        for row in track(rows, "reading headers", disable=len(rows) < PROGRESS_FROM_ROWS, transient=True):
            clip = self[row]
            if clip.audio is None:
                durations[row] = 0.0
                continue
            try:
                info = probe_audio(clip.audio, clip_id=clip.id)
                rates[row] = info.rate_hz
                if np.isnan(durations[row]):
                    durations[row] = info.duration_s - (clip.offset_s or 0.0)
            except AudioError as e:
                problems[row] = str(e)
        return self.with_column("duration_s", durations).with_column("sampling_rate", rates), problems

    def write(self, path: str | Path) -> Path:
        """Write to ``.arrow``, ``.parquet``, ``.csv``, ``.tsv`` or ``.jsonl``.

        Paths in a table start at its folder, so relative paths stay only in a table written into ``root``.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        same_folder = path.parent.resolve() == self.root.resolve()
        table = self.table if same_folder else self.with_absolute_audio().table
        if path.suffix == ".arrow":
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=1 << 16)
        elif path.suffix == ".parquet":
            pq.write_table(table, path)
        elif path.suffix == ".jsonl":
            lines = (json.dumps(row, ensure_ascii=False) for row in table.to_pylist())
            path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        elif path.suffix in (".csv", ".tsv"):
            with path.open("w", newline="", encoding="utf-8") as f:
                writer = csv.DictWriter(f, table.column_names, delimiter="\t" if path.suffix == ".tsv" else ",")
                writer.writeheader()
                writer.writerows(table.to_pylist())
        else:
            raise ValueError(f"`path` must end in {', '.join(FORMATS)}, but is {path}.")
        return path


def read_manifest(path: str | Path, *, root: str | Path | None = None) -> Manifest:
    """Return the manifest in a file; a folder means its ``manifest.*``.

    Args:
        root: where relative audio paths start; default: the file's own folder.

    Raises:
        FileNotFoundError: no such file.
        ManifestError: all problems of all rows at once.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / f"manifest{suffix}" for suffix in FORMATS if (path / f"manifest{suffix}").is_file()]
        if not found:
            raise FileNotFoundError(f"`path` must hold a manifest ({', '.join(FORMATS)}), but {path} does not.")
        path = found[0]
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a manifest, but {path} does not exist.")
    if path.suffix not in FORMATS:
        raise ValueError(f"`path` must end in one of {', '.join(FORMATS)}, but is {path}.")
    root = path.parent if root is None else Path(root)
    if path.suffix == ".arrow":
        return Manifest(_opened(path, lambda: pa.ipc.open_file(pa.memory_map(str(path))).read_all()), root=root)
    if path.suffix == ".parquet":
        return Manifest(_opened(path, lambda: pq.read_table(path)), root=root)
    rows = jsonl_rows(path) if path.suffix == ".jsonl" else csv_rows(path)
    return manifest_from_rows(rows, root=root, where=str(path))


def manifest_from_rows(rows: Sequence[Mapping[str, Any]], *, root: str | Path = ".", where: str = "rows") -> Manifest:
    """Return a manifest of plain dictionaries. Nested ``labels`` become columns; ``duration`` means ``duration_s``.

    Raises:
        ManifestError: duplicate or missing ids, wrong types, rows without audio and text: all at once.
    """
    if not rows:
        raise ManifestError(where, ["it has no rows"])
    require_content(rows, where)
    problems: list[str] = []
    flat = [flat_row(row, number, problems) for number, row in enumerate(rows, start=1)]
    name_rows(flat)
    seen: dict[str, int] = {}
    for number, row in enumerate(flat, start=1):
        if row.get("id") in seen:
            problems.append(f"row {number}: id {row['id']!r} is already the id of row {seen[row['id']]}")
        elif row.get("id"):
            seen[row["id"]] = number
    names = [*(n for n in STANDARD_COLUMNS if any(r.get(n) is not None for r in flat))]
    names += sorted({n for r in flat for n in r} - set(STANDARD_COLUMNS))
    columns = {n: typed_column(n, [r.get(n) for r in flat], problems) for n in names}
    if problems:
        raise ManifestError(where, problems)
    return Manifest(pa.table(columns), root=root)


def concatenate(manifests: Sequence[Manifest]) -> Manifest:
    """Return all clips as one manifest with absolute paths. A clip id that occurs twice must mean the same audio.

    Raises:
        ManifestError: one id for two different clips.
    """
    if len(manifests) == 1:
        return manifests[0]
    tables = [m.with_absolute_audio().table for m in manifests if len(m)]
    table = pa.concat_tables(tables, promote_options="permissive")
    first: dict[str, tuple] = {}
    keep, problems = [], []
    place = [table[n].to_pylist() if n in table.column_names else [None] * len(table) for n in ("audio", "offset_s")]
    for row, clip_id in enumerate(table["id"].to_pylist()):
        here = (place[0][row], place[1][row])
        if clip_id not in first:
            first[clip_id] = here
            keep.append(row)
        elif first[clip_id] != here:
            problems.append(f"id {clip_id!r} names two different clips: {first[clip_id]} and {here}")
    if problems:
        raise ManifestError("joined manifests", problems)
    return Manifest(table.take(pa.array(keep, pa.int64())), root=Path("/"))


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """Return float64 values, NaN for null, straight from Arrow's buffers: its to_numpy imports pandas (45 MB)."""
    pieces = [np.zeros(0)]
    for chunk in column.chunks:
        filled = pc.fill_null(chunk, float("nan")) if chunk.null_count else chunk
        values = np.frombuffer(filled.buffers()[1], np.float64)  # type: ignore[arg-type]
        pieces.append(values[filled.offset : filled.offset + len(filled)])
    return np.concatenate(pieces)


def _opened(path: Path, read: Any) -> pa.Table:
    try:
        table = read()
    except (pa.ArrowException, OSError) as e:
        raise ManifestError(str(path), [f"it cannot be read as {path.suffix[1:]}: {e}"]) from None
    if "id" not in table.column_names:
        raise ManifestError(str(path), [f"it must have a column 'id', but has {table.column_names}"])
    return table
