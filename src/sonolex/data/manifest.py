"""The columnar manifest: one row per clip, in Arrow. Read, write, validate, split.

``.arrow`` files are memory-mapped (a million clips open at once and cost only the pages that are touched);
``.parquet``, ``.csv``, ``.tsv`` and ``.jsonl`` are read into memory. Every column other than those below is a label
and keeps its name.

=================  =========================================================================
id                 unique name; default: the audio file's name without suffix, or the row's number
audio              path (relative to the manifest), or ``file://`` address (others: sonolex.audio.addresses)
audio_bytes        the encoded file itself (shards); instead of ``audio``
audio_digest       of the decoded samples (`sonolex.audio.io.check_audio`): `fit` writes it, fingerprints cover it
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

from sonolex.audio.io import MAX_DURATION_S, AudioError, read_audio
from sonolex.data.arrow_files import open_arrow, open_parquet, write_arrow, write_parquet
from sonolex.data.column_names import ALIASES
from sonolex.data.columns import STANDARD_COLUMNS, conformed, floats, label_column, standard_column
from sonolex.data.problems import Findings, ManifestError, Places
from sonolex.data.rows import id_problems
from sonolex.data.tables import FORMATS, Read, csv_table, jsonl_table, rows_table
from sonolex.files import atomic_file

__all__ = ["FORMATS", "Clip", "Manifest", "ManifestError", "concatenate", "manifest_from_rows", "read_manifest"]
ALSO_LABELS = ("speaker", "language", "session")  # standard columns that a task may ask for
CHECKED = {b"sonolex": b"clips, checked"}  # in a file with a checksum: its rows need no second check
PROGRESS_FROM_ROWS = 2000  # about a second of headers


@dataclass(frozen=True)
class Clip:
    """One row of a manifest. ``audio`` is resolved: an absolute path, an address, or bytes; None if there is none.

    Without ``offset_s`` the clip is the whole file and ``duration_s`` is only the file's length.
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
    """Rows as Arrow columns. ``root`` is the folder that relative audio paths start from.

    Every clip has a unique id, wherever the table came from and whatever was done to it. ``notes`` tell the user how
    the table was read. A table that was just read also has ``places``, the names of its rows in messages, and
    ``lists``, the columns that held several labels per clip; manifests derived from it have neither.
    """

    def __init__(
        self,
        table: pa.Table,
        *,
        root: str | Path = ".",
        notes: Sequence[str] = (),
        places: Places | None = None,
        lists: Sequence[str] = (),
    ):
        self.table, self.root, self.notes = table, Path(root), tuple(notes)
        self.places, self.lists = places or Places(), tuple(lists)
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
        return floats(self.table["duration_s"])

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
            labels={n: get[n] for n in self._labels} | {n: get.get(n) for n in ALSO_LABELS},
        )

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))

    def take(self, rows: Sequence[int] | np.ndarray) -> Manifest:
        """Return these rows, in this order.

        Raises:
            ValueError: a row twice; a clip is in a manifest once.
        """
        rows = np.asarray(rows, np.int64)
        if len(np.unique(rows)) < len(rows):
            values, counts = np.unique(rows, return_counts=True)
            raise ValueError(f"`rows` must be different, but row {values[counts > 1][0]} is there twice.")
        return Manifest(self.table.take(pa.array(rows)), root=self.root, notes=self.notes)

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
        """Return a copy with a column added or replaced. NaN is missing.

        Raises:
            ValueError: not one value a row, values the column cannot hold, ids that are not unique, or a name that
                means another column.
        """
        if len(values) != len(self):
            raise ValueError(f"`values` must be one for each of the {len(self)} clips, but are {len(values)}.")
        if name in ALIASES:
            raise ValueError(f"`name` must be {ALIASES[name]!r}, which {name!r} means, or that of a label.")
        if name in STANDARD_COLUMNS:
            column = standard_column(name, values)
        else:
            column = label_column(name, values)
        if name == "id" and (problems := id_problems(column)):
            raise ManifestError("column 'id'", problems)
        table = self.table
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
        return Manifest(table, root=self.root, notes=self.notes)

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
                if (clip.offset_s or 0.0) >= info.duration_s:
                    problems[row] = (
                        f"offset must lie in 0 to {info.duration_s:.3f} s, but is {clip.offset_s} (clip {clip.id!r}, "
                        f"file {clip.audio if isinstance(clip.audio, str) else 'embedded'}, field 'offset_s'). "
                        "Correct the manifest."
                    )
                elif np.isnan(durations[row]):
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
        if path.suffix not in FORMATS:
            raise ValueError(f"`path` must end in {', '.join(FORMATS)}, but is {path}.")
        same_folder = path.parent.resolve() == self.root.resolve()
        table = self.table if same_folder else self.with_absolute_audio().table
        table = conformed(table, where="the manifest")
        if path.suffix == ".arrow":
            write_arrow(table.replace_schema_metadata(CHECKED), path)
        elif path.suffix == ".parquet":
            write_parquet(table, path)
        else:
            _write_text(table, path)
        return path


def read_manifest(
    path: str | Path, *, root: str | Path | None = None, chosen: Mapping[str, str] | None = None
) -> Manifest:
    """Return the manifest in a file; a folder means its ``manifest.*``.

    Args:
        root: where relative audio paths start; default: the file's own folder.
        chosen: which columns are audio, text and speaker (`sonolex.data.column_names.named`).

    Raises:
        FileNotFoundError: no such file.
        ManifestError: all problems of all rows at once.
    """
    path = Path(path)
    if path.is_dir():
        paths = [path / f"manifest{suffix}" for suffix in FORMATS if (path / f"manifest{suffix}").is_file()]
        if not paths:
            raise FileNotFoundError(f"`path` must hold a manifest ({', '.join(FORMATS)}), but {path} does not.")
        path = paths[0]
    if not path.exists():
        raise FileNotFoundError(f"`path` must be a manifest, but {path} does not exist.")
    suffix, where = path.suffix.lower(), str(path)
    if suffix not in FORMATS:
        raise ValueError(f"`path` must end in one of {', '.join(FORMATS)}, but is {path}.")
    root = path.parent if root is None else Path(root)
    if suffix in (".csv", ".tsv", ".jsonl"):
        read = (jsonl_table if suffix == ".jsonl" else csv_table)(path, chosen=chosen)
        return _checked(read, root=root, where=where)  # its columns have their standard names already
    try:
        table = (open_arrow if suffix == ".arrow" else open_parquet)(path)
    except ValueError as e:
        raise ManifestError(where, [str(e).removeprefix(f"{path} ")]) from None
    if table.schema.metadata == CHECKED and not chosen:
        return Manifest(table.replace_schema_metadata(None), root=root)
    return _checked(Read(table, Findings()), root=root, where=where, chosen=chosen)


def manifest_from_rows(rows: Sequence[Mapping[str, Any]], *, root: str | Path = ".", where: str = "rows") -> Manifest:
    """Return a manifest of plain dictionaries. Nested ``labels`` become columns; ``duration`` means ``duration_s``.

    Raises:
        ManifestError: duplicate or missing ids, wrong types, rows without audio and text: all at once.
    """
    return _checked(rows_table(rows, where=where), root=root, where=where)


def _checked(read: Read, *, root: str | Path, where: str, chosen: Mapping[str, str] | None = None) -> Manifest:
    table, findings = conformed(read.table, where=where, findings=read.found, chosen=chosen), read.found
    return Manifest(table, root=root, notes=findings.notes, places=findings.places, lists=findings.lists)


def concatenate(manifests: Sequence[Manifest]) -> Manifest:
    """Return all clips as one manifest with absolute paths. A clip id that occurs twice must mean the same clip.

    Raises:
        ManifestError: one id for two different clips, or for two values of a column; a column of numbers in one
            manifest and of text in another.
    """
    if len(manifests) == 1:
        return manifests[0]
    tables = [m.with_absolute_audio().table for m in manifests if len(m)]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as e:
        raise ManifestError("joined manifests", [" ".join(str(e).split())]) from None
    first: dict[str, int] = {}
    again = [(row, r) for row, i in enumerate(table["id"].to_pylist()) if (r := first.setdefault(i, row)) != row]
    problems = _differences(table, again)
    if problems:
        raise ManifestError("joined manifests", problems)
    notes = list(dict.fromkeys(note for m in manifests for note in m.notes))
    return Manifest(table.take(pa.array(list(first.values()), pa.int64())), root=Path("/"), notes=notes)


def _differences(table: pa.Table, pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Return where two rows of one clip id differ; a value that only one of them has is no difference."""
    if not pairs:
        return []
    problems = {}
    later, earlier = (table.take(pa.array(rows, pa.int64())) for rows in zip(*pairs, strict=True))
    for name in table.column_names:
        columns = zip(earlier["id"].to_pylist(), earlier[name].to_pylist(), later[name].to_pylist(), strict=True)
        for clip_id, one, other in columns:
            if one != other and (name in ("audio", "offset_s") or None not in (one, other)):
                what = "names two different clips" if name in ("audio", "offset_s", "text") else "has two values"
                problems.setdefault(clip_id, f"id {clip_id!r} {what}: {name} is {one!r} and {other!r}")
    return list(problems.values())


def _write_text(table: pa.Table, path: Path) -> None:
    """Write CSV, TSV or JSONL, whole or not at all."""
    if "audio_bytes" in table.column_names and table["audio_bytes"].null_count < len(table):
        raise ValueError(f"`path` must end in .arrow or .parquet, because clips hold their audio, but is {path}.")
    with atomic_file(path) as building, building.open("w", newline="", encoding="utf-8") as f:
        if path.suffix == ".jsonl":
            f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
            return
        writer = csv.DictWriter(f, table.column_names, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        words = {True: "yes", False: "no"}  # the names of the classes (`sonolex.labels.class_name`)
        for row in table.to_pylist():
            writer.writerow({n: words[v] if isinstance(v, bool) else v for n, v in row.items()})
