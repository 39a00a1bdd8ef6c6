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
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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

    def __init__(self, where: str, problems: Sequence[str]):
        self.problems = list(problems)
        shown = "".join(f"\n  - {p}" for p in self.problems[:50])
        more = f"\n  … and {len(self.problems) - 50} more" if len(self.problems) > 50 else ""
        super().__init__(f"{where} has {len(self.problems)} problem(s):{shown}{more}")


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


class Manifest:
    """Rows as Arrow columns. ``root`` is the folder that relative audio paths start from."""

    def __init__(self, table: pa.Table, *, root: str | Path = "."):
        self.table, self.root = table, Path(root)
        self._labels = [n for n in table.column_names if n not in STANDARD_COLUMNS]

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        return f"Manifest({len(self)} clips, {self.hours:.2f} h, labels {self._labels})"

    @property
    def label_columns(self) -> list[str]:
        return list(self._labels)

    @property
    def hours(self) -> float:
        return float(np.nansum(self.durations_s)) / 3600 if "duration_s" in self.table.column_names else 0.0

    @property
    def durations_s(self) -> np.ndarray:
        """Durations (clips,), NaN where unknown."""
        if "duration_s" not in self.table.column_names:
            return np.full(len(self), np.nan)
        return self.table["duration_s"].to_numpy().astype(np.float64, copy=False)

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
        from sonolex.audio.io import AudioError, probe_audio

        durations, rates, problems = self.durations_s.copy(), self.column("sampling_rate"), []
        for row in np.flatnonzero(np.isnan(durations)):
            clip = self[int(row)]
            if clip.audio is None:
                durations[row] = 0.0
                continue
            try:
                info = probe_audio(clip.audio, clip_id=clip.id)
                durations[row], rates[row] = info.duration_s - (clip.offset_s or 0.0), info.rate_hz
            except AudioError as e:
                problems.append(str(e))
        if problems:
            raise ManifestError("manifest", problems)
        return self.with_column("duration_s", durations).with_column("sampling_rate", rates)

    def write(self, path: str | Path) -> Path:
        """Write to ``.arrow``, ``.parquet``, ``.csv`` or ``.jsonl``. Relative audio paths are kept as they are."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".arrow":
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self.table.schema) as writer:
                writer.write_table(self.table, max_chunksize=1 << 16)
        elif path.suffix == ".parquet":
            pq.write_table(self.table, path)
        elif path.suffix == ".jsonl":
            lines = (json.dumps(row, ensure_ascii=False) for row in self.table.to_pylist())
            path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        elif path.suffix == ".csv":
            with path.open("w", newline="", encoding="utf-8") as f:
                writer = csv.DictWriter(f, self.table.column_names)
                writer.writeheader()
                writer.writerows(self.table.to_pylist())
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
    rows = _jsonl_rows(path) if path.suffix == ".jsonl" else _csv_rows(path)
    return manifest_from_rows(rows, root=root, where=str(path))


def manifest_from_rows(rows: Sequence[Mapping[str, Any]], *, root: str | Path = ".", where: str = "rows") -> Manifest:
    """Return a manifest of plain dictionaries. Nested ``labels`` become columns; ``duration`` means ``duration_s``.

    Raises:
        ManifestError: duplicate or missing ids, wrong types, rows without audio and text: all at once.
    """
    if not rows:
        raise ManifestError(where, ["it has no rows"])
    _require_content(rows, where)
    problems: list[str] = []
    flat = [_flat_row(row, number, problems) for number, row in enumerate(rows, start=1)]
    _name_rows(flat)
    seen: dict[str, int] = {}
    for number, row in enumerate(flat, start=1):
        if row.get("id") in seen:
            problems.append(f"row {number}: id {row['id']!r} is already the id of row {seen[row['id']]}")
        elif row.get("id"):
            seen[row["id"]] = number
    names = [*(n for n in STANDARD_COLUMNS if any(r.get(n) is not None for r in flat))]
    names += sorted({n for r in flat for n in r} - set(STANDARD_COLUMNS))
    columns = {n: _column(n, [r.get(n) for r in flat], problems) for n in names}
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


def disjoint_splits(
    groups: Sequence[str], *, shares: Mapping[str, float], seed: int = 0, strata: Sequence[Any] | None = None
) -> list[str]:
    """Return a split name per row so that no group (speaker, recording) is in two splits.

    Groups are dealt in a seeded order, each to the split that is furthest below its share of rows (and of every
    stratum, when given). Every split gets at least one group.

    Raises:
        ValueError: fewer groups than splits.
    """
    rng = np.random.default_rng(seed)
    names, order = list(shares), sorted(set(groups))
    if len(order) < len(names):
        raise ValueError(f"`groups` must have at least {len(names)} values for {names}, but has {len(order)}.")
    strata_ids = np.unique([str(s) for s in strata], return_inverse=True)[1] if strata is not None else None
    strata_ids = np.zeros(len(groups), int) if strata_ids is None else strata_ids
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    num_strata = int(strata_ids.max()) + 1
    counts = {g: np.bincount(strata_ids[rows], minlength=num_strata) for g, rows in members.items()}
    rng.shuffle(order)
    order.sort(key=lambda g: -len(members[g]))  # stable: the seeded order decides among equals
    wanted = {n: shares[n] * np.bincount(strata_ids, minlength=num_strata) for n in names}
    have = {n: np.zeros(num_strata) for n in names}
    assigned: dict[str, str] = {}
    for position, group in enumerate(order):
        empty = [n for n in names if not have[n].any()]
        candidates = empty if len(order) - position <= len(empty) else names
        assigned[group] = max(candidates, key=lambda n: float(np.sum((wanted[n] - have[n]) * counts[group])))
        have[assigned[group]] += counts[group]
    return [assigned[g] for g in groups]


def require_disjoint(parts: Mapping[str, Manifest], *, column: str) -> None:
    """Raise ValueError if a value of ``column`` (speaker, source_id, id) occurs in two parts. Missing values pass."""
    seen: dict[Any, str] = {}
    for name, part in parts.items():
        for value in {v for v in part.column(column) if v is not None}:
            if value in seen:
                raise ValueError(
                    f"`{column}` must be disjoint between parts, but {value!r} is in {seen[value]!r} and {name!r}. "
                    "Results would be measured on known speakers or recordings: choose another split."
                )
            seen[value] = name


def _opened(path: Path, read: Any) -> pa.Table:
    try:
        table = read()
    except (pa.ArrowException, OSError) as e:
        raise ManifestError(str(path), [f"it cannot be read as {path.suffix[1:]}: {e}"]) from None
    if "id" not in table.column_names:
        raise ManifestError(str(path), [f"it must have a column 'id', but has {table.column_names}"])
    return table


def _jsonl_rows(path: Path) -> list[dict]:
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


def _csv_rows(path: Path) -> list[dict]:
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


def _require_content(rows: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raise one error, not one per row, when no row has any audio or text: the header is wrong."""
    names = sorted({str(ALIASES.get(k, k)) for row in rows for k in row})
    if {"audio", "audio_bytes", "text"} & set(names):
        return
    nearest = difflib.get_close_matches("audio", names, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r} to be 'audio'?" if nearest else ""
    raise ManifestError(where, [f"it must have a column 'audio' (paths) or 'text', but has {names}.{hint}"])


def _name_rows(flat: list[dict[str, Any]]) -> None:
    """Give rows without id the stem of their file, its whole path where stems collide, or their number."""
    nameless = [row for row in flat if row.get("id") is None]
    stems = Counter(Path(row["audio"]).stem for row in nameless if isinstance(row.get("audio"), str))
    for number, row in enumerate(flat, start=1):
        if row.get("id") is None:
            path = row.get("audio")
            stem = Path(path).stem if isinstance(path, str) else ""
            row["id"] = (stem if stems[stem] == 1 else str(path)) if stem else f"row {number}"


def _flat_row(row: Mapping[str, Any], number: int, problems: list[str]) -> dict[str, Any]:
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


def _column(name: str, values: list[Any], problems: list[str]) -> pa.Array:
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
