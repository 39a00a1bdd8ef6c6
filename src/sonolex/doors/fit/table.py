"""Check a user's table before `sonolex fit` trains anything: its columns, its usable rows, and what changed since."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonolex.data.checks import check_clips
from sonolex.data.column_names import PERHAPS_SPEAKERS, meaning, shown
from sonolex.data.columns import STANDARD_COLUMNS
from sonolex.data.folders import folder_manifest, is_class_folder
from sonolex.data.labels import near_lines, quoted, renamed, tag_counts, variant_lines, variants
from sonolex.data.manifest import FORMATS, Manifest, ManifestError, read_manifest
from sonolex.data.problems import Places
from sonolex.labels import TAG_SEPARATOR, class_name, split_tags

SMALLEST_NUMBER_OF_CLIPS = 12
FOLDER_LABEL = "label"  # name for the classes of a folder of folders
NO_LABELS = {
    **dict.fromkeys(("id", "source_id"), "names clips and recordings"),
    **dict.fromkeys(("audio", "audio_bytes", "text"), "is what a model reads"),
    **dict.fromkeys(("offset_s", "duration_s", "sampling_rate", "audio_digest"), "describes the audio file"),
    **dict.fromkeys(("split", "fold"), "divides the table"),
}
SKIP = "Repair these rows, or leave them out with --skip-bad."


@dataclass(frozen=True)
class Table:
    """A user's table after all checks: usable rows, and notes on the rest.

    ``labels`` are the columns to predict, ``several`` those of them that hold several labels per clip.
    """

    manifest: Manifest
    notes: list[str]
    labels: tuple[str, ...] = ()
    several: tuple[str, ...] = ()


def checked_table(
    path: Path,
    *,
    label: str | Sequence[str] | None,
    skip_bad: bool,
    longest_s: float = np.inf,
    reader: str = "the model",
    chosen: Mapping[str, str] | None = None,
    multilabel: str = "",
    merge_variants: bool = False,
) -> Table:
    """Return the usable rows of a table, every clip of which has been decoded to its end.

    Args:
        path: a table, or a folder with a subfolder for each class.
        label: columns to predict, also joined by commas; None for a folder, whose subfolders are the classes. A row is
            used if it has one of them.
        longest_s: length of the longest clip that ``reader`` takes.
        chosen: names of the columns of audio, text and speaker (`sonolex.data.column_names.named`).
        multilabel: separator of several labels in a cell.
        merge_variants: make one class of labels that differ only in `sonolex.data.labels.spelling`.

    Raises:
        ManifestError: wrong header or unusable rows, all of them (unusable rows only unless ``skip_bad``).
    """
    requested = [label] if isinstance(label, str) else list(label or ())
    manifest = _read(path, requested, chosen)
    labels = named_labels(requested, manifest.table.column_names, where=str(path))
    problems = _header_problems(manifest.table.column_names, labels)
    if problems:
        raise ManifestError(str(path), problems)
    several = _several(manifest, labels, multilabel, str(path))
    notes, places = list(manifest.notes), manifest.places
    manifest = _with_slashes(manifest, notes)
    for name in several:
        manifest = _separated(manifest, name, multilabel, places, str(path))
    for name in dict.fromkeys((*labels, "speaker")):
        manifest = _with_one_spelling(manifest, name, name in several, merge_variants, notes)
    for name in labels:
        notes += near_lines(name, _counts(manifest, name, name in several))
    checked = check_clips(manifest, longest_s=longest_s, reader=reader)
    columns = [manifest.column(name) for name in labels]
    bad = checked.problems
    unlabelled = [r for r in range(len(manifest)) if all(c[r] is None for c in columns) and r not in bad]
    if bad and not skip_bad:
        listed = [f"{places.one(r)}: {problem}" for r, problem in sorted(bad.items())]
        raise ManifestError(str(path), listed, cure=SKIP)
    usable = [r for r in range(len(manifest)) if r not in bad and any(c[r] is not None for c in columns)]
    notes += checked.notes
    notes += [f"left out, {places.one(r)}: {problem}" for r, problem in sorted(bad.items())]
    if unlabelled:
        notes.append(f"left out: {len(unlabelled)} rows without {either(labels)}: {places.several(unlabelled)}")
    notes += _partly_known(labels, columns, usable)
    require_enough(len(usable), str(path), notes)
    if "text" in manifest.table.column_names and not any(manifest.column("text")):
        notes.append("column 'text' is empty: audio only")
    return Table(
        checked.manifest.take(usable), notes + _perhaps_speaker(manifest, labels), tuple(labels), tuple(several)
    )


def named_labels(requested: Sequence[str], names: Sequence[str], *, where: str) -> list[str]:
    """Return the columns to predict: each of ``requested`` is a column, another word for one, or several with commas.

    >>> named_labels(["arousal, valence", "Speaker ID"], ["arousal", "valence", "speaker"], where="t.csv")
    ['arousal', 'valence', 'speaker']

    Raises:
        ManifestError: no column is requested, or one twice.
    """
    if not requested:
        labels = [n for n in names if n not in STANDARD_COLUMNS] or list(names)
        raise ManifestError(where, [f"`--label` must name the column to predict, for example one of {shown(labels)}"])
    columns: list[str] = []
    for name in requested:
        parts = [name] if name in names else [p.strip() for p in name.split(",")] if "," in name else [name.strip()]
        columns += [_standard_name(part, names) for part in parts if part]
    twice = sorted(n for n, count in Counter(columns).items() if count > 1)
    if twice:
        raise ManifestError(where, [f"`--label` must name different columns, but names {twice[0]!r} twice"])
    return columns


def either(names: Sequence[str]) -> str:
    """Return names as a choice.

    >>> either(["age"]), either(["age", "mood", "tone"])
    ("'age'", "'age', 'mood' or 'tone'")
    """
    shown_names = list(map(repr, names))
    return " or ".join([*([", ".join(shown_names[:-1])] if len(names) > 1 else []), shown_names[-1]])


def require_enough(count: int, where: str, notes: Sequence[str]) -> None:
    """Raise ManifestError for too few usable rows to divide and to learn from."""
    if count < SMALLEST_NUMBER_OF_CLIPS:
        problem = f"it must have at least {SMALLEST_NUMBER_OF_CLIPS} usable rows, but has {count}"
        raise ManifestError(where, [problem, *notes])


def require_same_clips(folder: Path, wanted: Manifest, labels: Sequence[str]) -> None:
    """Raise ValueError if the folder holds a fit of other clips; the message lists the changes."""
    if not (folder / "manifest.arrow").is_file():
        return
    changes = changes_between(read_manifest(folder / "manifest.arrow"), wanted, labels)
    if changes:
        raise ValueError(
            f"{folder} must hold a fit of the same table, but since then {'; '.join(changes)}. "
            "Name another folder with --out, or remove this one to start again."
        )


def changes_between(before: Manifest, after: Manifest, labels: Sequence[str]) -> list[str]:
    """Return, in words, the differences between two tables that affect a fit's scores; empty if there are none."""
    rows = [{i: r for r, i in enumerate(m.column("id"))} for m in (before, after)]
    gone, new = [i for i in rows[0] if i not in rows[1]], [i for i in rows[1] if i not in rows[0]]
    known = ((gone, "removed"), (new, "added"))
    changes = [f"{len(ids)} clips were {what} ({_some(ids)})" for ids, what in known if ids]
    both = [i for i in rows[0] if i in rows[1]]
    words = {n: f"the label {n!r}" for n in labels} | {"audio_digest": "the audio", "text": "the transcript"}
    for column in dict.fromkeys((*labels, "audio_digest", "text", "speaker", "split", "fold")):
        if column not in before.table.column_names and column not in STANDARD_COLUMNS:
            return [*changes, f"the label is {column!r}, which it did not have"]
        old, current = before.column(column), after.column(column)
        differing = [i for i in both if old[rows[0][i]] != current[rows[1][i]]]
        if differing:
            what = words.get(column, f"the {column}")
            changes.append(f"{what} of {len(differing)} clips changed ({_some(differing)})")
    return changes


def _standard_name(word: str, names: Sequence[str]) -> str:
    """Return the standard name of a column that the user requests: "speaker" for "speaker_id"."""
    meant = meaning(word)
    return meant if word not in names and meant in names and meant not in NO_LABELS else word


def _read(path: Path, requested: list[str], chosen: Mapping[str, str] | None) -> Manifest:
    """Return a table, or the recordings of a folder of class folders; its label is then added to ``requested``."""
    if not is_class_folder(path):
        if path.exists() and path.suffix.lower() not in FORMATS and not path.is_dir():
            kinds = ", ".join(FORMATS)
            raise ManifestError(str(path), [f"it must be a table ({kinds}) or a folder with a folder for each class"])
        return read_manifest(path, chosen=chosen)
    if any((chosen or {}).values()) or len(requested) > 1:
        raise ManifestError(
            str(path), ["a folder has no columns: leave --audio-column and such out, and give one label"]
        )
    requested[:] = requested or [FOLDER_LABEL]
    if meaning(requested[0]) in STANDARD_COLUMNS:
        raise ManifestError(
            str(path), [f"`--label` must be a name for its classes, but {requested[0]!r} means something else"]
        )
    return folder_manifest(path, label=requested[0])


def _header_problems(names: list[str], labels: Sequence[str]) -> list[str]:
    problems = []
    for label in labels:
        meant = meaning(label) if label not in names else label
        if meant in NO_LABELS:
            problems.append(
                f"`label` must be a column to predict, but {label!r} {NO_LABELS[meant]}. "
                "Copy the column under another name if you mean it."
            )
        elif label not in names:
            near = difflib.get_close_matches(label, names, n=1)
            problems.append(
                f"column {label!r} is missing; it has {names}." + (f" Did you mean {near[0]!r}?" if near else "")
            )
    for wanted in ("audio", "speaker", "text", "split"):
        near = [] if wanted in names else difflib.get_close_matches(wanted, names, n=1, cutoff=0.75)
        if near and near[0] not in labels and near[0] not in STANDARD_COLUMNS:
            problems.append(f"column {near[0]!r} looks like {wanted!r}: rename it, or name it differently")
    return problems


def _with_slashes(manifest: Manifest, notes: list[str]) -> Manifest:
    """Return the table with slashes for backslashes in paths, where only such files exist; add a note."""
    paths = manifest.column("audio")
    if os.sep == "\\" or not any(p and "\\" in p for p in paths):
        return manifest
    slashes = {p: p.replace("\\", "/") for p in paths if p and "\\" in p and "://" not in p}
    existing = {p: s for p, s in slashes.items() if not (manifest.root / p).exists() and (manifest.root / s).is_file()}
    if existing:
        example, read = next(iter(existing.items()))
        notes.append(f"{len(existing)} paths are written as on Windows: '{example}' is read as '{read}'")
    return manifest.with_column("audio", [existing.get(p, p) for p in paths])


def _several(manifest: Manifest, labels: Sequence[str], separator: str, where: str) -> list[str]:
    """Return the label columns that hold several labels per clip: lists, or cells with the user's separator.

    Raises:
        ManifestError: no cell has the separator.
    """
    separated = [
        n for n in labels if separator and any(isinstance(v, str) and separator in v for v in manifest.column(n))
    ]
    if separator and not separated:
        problem = f"{either(labels)} must have cells with {separator!r} between labels, but no cell has it"
        raise ManifestError(where, [problem], cure="Leave --multilabel out; --task tagging reads one label a cell.")
    return [n for n in labels if n in manifest.lists or n in separated]


def _separated(manifest: Manifest, name: str, separator: str, places: Places, where: str) -> Manifest:
    """Return the table with the cells of a column split at the user's separator, as tasks read them."""
    if name in manifest.lists or separator == TAG_SEPARATOR:
        return manifest
    cells, problems = [], []
    for row, value in enumerate(manifest.column(name)):
        try:
            cells.append(None if value is None else split_tags(class_name(value), separator))
        except ValueError as e:
            problems.append(f"{places.one(row)}: {name} {e}")
    if problems:
        raise ManifestError(where, problems, cure=f"Labels are separated by {separator!r}, as --multilabel says.")
    return manifest.with_column(name, cells)


def _counts(manifest: Manifest, name: str, several: bool) -> Counter[str]:
    """Return how many rows have each name of a column; numbers are no names."""
    texts = [v for v in manifest.column(name) if isinstance(v, str)]
    return tag_counts(texts) if several else Counter(texts)


def _with_one_spelling(manifest: Manifest, name: str, several: bool, merge: bool, notes: list[str]) -> Manifest:
    """Return the table with one spelling for names that differ only in spelling, or else add a warning about them."""
    counts = _counts(manifest, name, several)
    names = {other: group[0] for group in variants(counts) for other in group[1:]}
    if not names:
        return manifest
    if not merge:
        notes += variant_lines(name, counts, of="speakers" if name == "speaker" else "classes")
        return manifest
    values = manifest.column(name)
    changed = [renamed(v, names, several=several) for v in values]
    pairs = [quoted([other, kept]) for other, kept in names.items()]
    listed = ", ".join(f"{other} is read as {kept}" for other, kept in pairs)
    rows = sum(a != b for a, b in zip(values, changed, strict=True))
    notes.append(f"merged spellings of {name!r} in {rows} rows: {listed}")
    return manifest.with_column(name, changed)


def _perhaps_speaker(manifest: Manifest, labels: Sequence[str]) -> list[str]:
    """Return a sentence if no column is known to name the speaker, but one may."""
    if any(manifest.column("speaker")):
        return []
    names = [n for n in manifest.label_columns if n.strip().casefold() in PERHAPS_SPEAKERS and n not in labels]
    return [f"column {n!r} may say who speaks: if it does, --speaker-column {n!r}" for n in names[:1]]


def _partly_known(labels: Sequence[str], columns: Sequence[Sequence[object]], usable: Sequence[int]) -> list[str]:
    """Return a sentence for each of several labels that some usable rows lack."""
    missing = {name: sum(column[r] is None for r in usable) for name, column in zip(labels, columns, strict=True)}
    return [
        f"{n!r} is missing in {count} of the {len(usable)} rows, which count only for the other labels"
        for n, count in missing.items()
        if count
    ]


def _some(ids: Sequence[str]) -> str:
    return ", ".join(repr(i) for i in ids[:3]) + (", …" if len(ids) > 3 else "")
