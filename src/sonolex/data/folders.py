"""A folder of class folders as a table: the class of a recording is the subfolder it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sonolex.audio.containers import SUFFIXES
from sonolex.data.manifest import FORMATS, Manifest, ManifestError, manifest_from_rows
from sonolex.data.parts import PART_NAMES

RECORDINGS = {*SUFFIXES, ".m4a", ".aac", ".wma", ".mp4"}  # the last ones are refused by name where they are decoded
NAMES_SHOWN = 3
LAYOUT = "FOLDER/CLASS/recording.wav"


def is_class_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder that holds no manifest."""
    return path.is_dir() and not any((path / f"manifest{suffix}").is_file() for suffix in FORMATS)


def folder_manifest(folder: Path, *, label: str = "label") -> Manifest:
    """Return the recordings below a folder, each with the name of its subfolder in column ``label``.

    Recordings may lie deeper; folders in between have no meaning here. Where the subfolders are called train and test
    (validation, dev), they are the column ``split``, and the folders in them are the classes. Files that are not
    recordings, or lie in no subfolder, are left out and named in the notes.

    Raises:
        ManifestError: recordings of fewer than two classes.
    """
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    sounds = [p for p in files if p.suffix.lower() in RECORDINGS and not _is_hidden(p)]
    tops = {p.parts[0] for p in sounds if len(p.parts) > 1}
    parts = {top: PART_NAMES.get(top.casefold()) for top in tops}
    depth = 1 if len(tops) > 1 and None not in parts.values() else 0
    classified = [p for p in sounds if len(p.parts) > depth + 1]
    classes = {p.parts[depth] for p in classified}
    if len(classes) < 2:
        problem = f"it must hold recordings in a folder for each class ({LAYOUT}), but has {_count(classes)}"
        raise ManifestError(str(folder), [problem], cure="Sort the recordings into folders, or write a table of them.")
    rows = [{"audio": p.as_posix(), label: p.parts[depth]} for p in classified]
    if depth:
        rows = [{**row, "split": parts[p.parts[0]]} for row, p in zip(rows, classified, strict=True)]
    manifest = manifest_from_rows(rows, root=folder, where=str(folder))
    notes = [f"folder: {len(rows)} recordings in {len(classes)} folders, which are the classes (column {label!r})"]
    if depth:
        notes.append(f"split: the folders {', '.join(sorted(tops))} are the parts of the table")
    notes += _left_out(files, sounds, classified, depth)
    return Manifest(manifest.table, root=folder, notes=[*notes, *manifest.notes])


def _left_out(files: Sequence[Path], sounds: Sequence[Path], classified: Sequence[Path], depth: int) -> list[str]:
    loose, other_files = sorted({*sounds} - {*classified}), sorted({*files} - {*sounds})
    deeper = [p for p in classified if len(p.parts) > depth + 2]
    notes = []
    if other_files:
        notes.append(f"left out: {len(other_files)} files that are not recordings ({_some(other_files)})")
    if loose:
        notes.append(f"left out: {len(loose)} recordings that lie in no class's folder ({_some(loose)})")
    silent = sorted(
        {p.parts[depth] for p in other_files if len(p.parts) > depth + 1} - {p.parts[depth] for p in classified}
    )
    if silent:
        notes.append(f"WARNING: no recordings in the folders {', '.join(map(repr, silent[:NAMES_SHOWN]))}: no classes")
    if deeper:
        notes.append(
            f"{len(deeper)} recordings lie in folders within their class's ({_some(deeper)}): these are not read as "
            "speakers. If they are, write a table with a column 'speaker'"
        )
    return notes


def _is_hidden(path: Path) -> bool:
    """Return whether a file is one that people do not see: macOS leaves "._a.wav" beside "a.wav"."""
    return any(part.startswith(".") for part in path.parts)


def _count(classes: set[str]) -> str:
    return f"one folder only ({next(iter(classes))!r})" if classes else "none"


def _some(paths: Sequence[Path]) -> str:
    return ", ".join(p.as_posix() for p in paths[:NAMES_SHOWN]) + (", …" if len(paths) > NAMES_SHOWN else "")
