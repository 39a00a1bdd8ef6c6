"""Decode every clip of a manifest to its end, so that unusable clips are known before training starts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonolex.audio.io import AudioError, CheckedAudio, check_audio
from sonolex.data.manifest import Clip, Manifest

THREADS = 2
CLIPS_AT_ONCE = 256
SILENT_S = 2.0  # before a bar is shown
NEARBY_S = 0.1  # tables round the lengths they state


@dataclass(frozen=True)
class Checked:
    """A manifest with the lengths, rates and digests of its audio; problems by row; notes for the user."""

    manifest: Manifest
    problems: dict[int, str]
    notes: list[str]


def check_clips(manifest: Manifest, *, longest_s: float = np.inf, reader: str = "the model") -> Checked:
    """Decode every clip to its end and return the results; a progress bar appears after two seconds.

    Args:
        longest_s: limit of ``reader`` for one clip; clips that reach it are problems.
    """
    stated, rates = manifest.durations_s, manifest.column("sampling_rate")
    durations = np.zeros(len(manifest))
    digests: list[str | None] = [None] * len(manifest)
    problems: dict[int, str] = {}
    odd: list[int] = []
    nearby = _Nearby()
    for row, outcome in enumerate(_checked(manifest)):
        if isinstance(outcome, AudioError):
            problems[row] = f"{outcome}{nearby.hint(manifest[row].audio)}" if outcome.field == "audio" else str(outcome)
        elif outcome is not None:
            durations[row], rates[row], digests[row] = outcome.duration_s, outcome.info.rate_hz, outcome.digest
            if outcome.duration_s >= longest_s:
                problems[row] = _too_long(manifest[row], outcome.duration_s, longest_s, reader)
            elif abs(stated[row] - outcome.duration_s) > NEARBY_S:
                odd.append(row)
    notes = []
    if odd:
        one = manifest[odd[0]].id
        notes.append(
            f"WARNING: {len(odd)} clips are longer or shorter than their duration says ({one!r}: "
            f"{durations[odd[0]]:.2f} s, not {stated[odd[0]]:.2f}): the whole file is used. Add a column 'offset' "
            "where excerpts are meant."
        )
    full = manifest.with_column("duration_s", durations).with_column("sampling_rate", rates)
    return Checked(full.with_column("audio_digest", digests), problems, notes)


def require_unchanged(manifest: Manifest) -> None:
    """Raise ValueError if the audio of clips is no longer that of their ``audio_digest``."""
    known = np.flatnonzero([d is not None for d in manifest.column("audio_digest")])
    part = manifest.take(known)
    changed = []
    for clip, digest, outcome in zip(part, part.column("audio_digest"), _checked(part), strict=True):
        if isinstance(outcome, AudioError):
            raise outcome
        if outcome is None or outcome.digest != digest:
            changed.append(clip.id)
    if changed:
        raise ValueError(
            f"audio must match the manifest's audio_digest, but {len(changed)} clips do not, for example "
            f"{changed[0]!r}. Put the recordings back, or fit again in another folder."
        )


class _Nearby:
    """Hints for a missing file's message: a name that differs in capitals only, or a Windows path."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, str]] = {}

    def hint(self, path: str | bytes | None) -> str:
        if not isinstance(path, str) or "://" in path or Path(path).exists():
            return ""
        if "\\" in path:
            return " It is written as on Windows: here '/' separates folders, and paths have no drive."
        name = self._in(Path(path).parent).get(Path(path).name.casefold())
        return f" Did you mean {name!r}?" if name else ""

    def _in(self, folder: Path) -> dict[str, str]:
        if folder not in self._names:
            names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
            self._names[folder] = {name.casefold(): name for name in names}
        return self._names[folder]


def _too_long(clip: Clip, duration_s: float, longest_s: float, reader: str) -> str:
    return (
        f"audio must last less than {longest_s:g} s for {reader}, but lasts {duration_s:.2f} s (clip {clip.id!r}, "
        "field 'duration_s'). Cut the recording into clips."
    )


def _checked(manifest: Manifest) -> Iterator[CheckedAudio | AudioError | None]:
    """Yield the outcome of decoding every clip to its end, in order; None for a clip without audio."""
    with ThreadPoolExecutor(THREADS) as pool, _bar(len(manifest)) as advance:
        for start in range(0, len(manifest), CLIPS_AT_ONCE):
            clips = [manifest[row] for row in range(start, min(start + CLIPS_AT_ONCE, len(manifest)))]
            for outcome in pool.map(_checked_clip, clips):
                advance()
                yield outcome


def _checked_clip(clip: Clip) -> CheckedAudio | AudioError | None:
    if clip.audio is None:
        return None
    duration_s = clip.duration_s if clip.offset_s is not None else None
    try:
        return check_audio(clip.audio, clip_id=clip.id, offset_s=clip.offset_s, duration_s=duration_s)
    except AudioError as e:
        return e


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    """Context: yields a function to call once per clip; after two seconds a bar appears on the error stream."""
    from rich.console import Console
    from rich.progress import Progress

    began, count = time.monotonic(), itertools.count(1)
    bar = Progress(console=Console(stderr=True), transient=True)
    line = bar.add_task("checking clips", total=total)

    def advance() -> None:
        done = next(count)
        if not bar.live.is_started and time.monotonic() - began > SILENT_S:
            bar.start()
        if bar.live.is_started:
            bar.update(line, completed=done)

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


def same_audio(manifest: Manifest, parts: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of clips of different parts with the same audio, by ``audio_digest``."""
    first: dict[str, int] = {}
    pairs = []
    ids = manifest.column("id")
    for row, digest in enumerate(manifest.column("audio_digest")):
        if digest is not None and parts[(other := first.setdefault(digest, row))] != parts[row]:
            pairs.append((ids[other], ids[row]))
    return pairs
