"""Digests of the clips a run began with, kept in its folder: with changed clips, the same command is another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonolex.data.digests import clips_digests
from sonolex.data.manifest import Manifest
from sonolex.files import load_object, save_json
from sonolex.protocols.base import find_protocol
from sonolex.train.manifests import load_sources
from sonolex.train.run import Run, Source

CLIPS = "clips.json"
COLUMNS = ("id", "text", "speaker", "offset_s")


def write_clips(folder: Path, run: Run) -> None:
    """Write digests of a run's clips by part and column."""
    save_json(folder / CLIPS, _clips_of(run))


def require_same_clips(folder: Path, run: Run, *, finished: bool = False) -> None:
    """Raise ValueError if the folder holds a run that was begun with other clips, naming the columns that differ.

    Args:
        finished: nothing will be trained, so only a user's own manifests that still exist are read again.
    """
    path = folder / CLIPS
    if not path.is_file() or (finished and not _from_user_manifests(run)):
        return
    cure = "Remove this file, and the same command writes it again."
    saved = load_object(path, cure=cure)
    wrong = [part for part, digests in saved.items() if not isinstance(digests, dict)]
    if wrong:
        raise ValueError(f"{path} must hold digests of every part's columns, but has none of {wrong[0]!r:.40}. {cure}")
    changes = _changes(saved, _clips_of(run))
    if changes:
        raise ValueError(
            f"{folder} must hold a run of the same clips, but since then {'; '.join(changes)}. "
            "Name another folder, or remove this one to start again."
        )


def _clips_of(run: Run) -> dict[str, dict[str, Any]]:
    parts = {"training": run.data.train, "selection": run.data.selection, "report": run.data.report}
    return {name: _digests(load_sources(sources), run) for name, sources in parts.items() if sources}


def _digests(clips: Manifest, run: Run) -> dict[str, Any]:
    names = [*COLUMNS, *clips.label_columns, *(t.label for t in run.tasks)]
    return {"number": len(clips), **clips_digests(clips, names, places=False)}


def _changes(saved: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return the differences, in words; a column that only one of them has is ignored."""
    changes = []
    for part in sorted(set(saved) & set(wanted)):
        old, new = saved[part], wanted[part]
        if old.get("number") != new["number"]:
            changes.append(f"the {part} clips are {new['number']} instead of {old.get('number')}")
            continue
        differing = [repr(n) for n in new if n in old and old[n] != new[n]]
        if differing:
            changes.append(f"{', '.join(differing)} of {part} clips changed")
    return changes


def _from_user_manifests(run: Run) -> bool:
    """Return whether all of a run's clips are in a user's own manifests, which still exist."""
    data = run.data
    return all(_from_user_manifest(source) for source in (*data.train, *data.selection, *data.report))


def _from_user_manifest(source: Source) -> bool:
    if source.manifest is not None:
        return Path(source.manifest).exists()
    name = source.protocol or ""
    return name.endswith(".json") and Path(name).is_file() and Path(find_protocol(name).corpus).exists()
