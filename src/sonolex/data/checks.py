"""Every clip of a manifest decoded to its end: what cannot be used is found before anything is trained on it."""

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
    """A manifest with lengths, rates and digests as its audio has them; what is wrong, by row; what has to be said."""

    manifest: Manifest
    problems: dict[int, str]
    notes: list[str]


def check_clips(manifest: Manifest, *, longest_s: float = np.inf, reader: str = "the model") -> Checked:
    """Decode every clip to its end and return what is found; a bar is shown from two seconds on.

    Args:
        longest_s: what ``reader`` can take of one clip; longer ones are problems.
    """
    stated, rates = manifest.durations_s, manifest.column("sampling_rate")
    durations = np.zeros(len(manifest))
    digests: list[str | None] = [None] * len(manifest)
    problems: dict[int, str] = {}
    odd: list[int] = []
    nearby = _Nearby()
    for row, found in enumerate(_checked(manifest)):
        if isinstance(found, AudioError):
            problems[row] = f"{found}{nearby.hint(manifest[row].audio)}" if found.field == "audio" else str(found)
        elif found is not None:
            durations[row], rates[row], digests[row] = found.duration_s, found.info.rate_hz, found.digest
            if found.duration_s >= longest_s:
                problems[row] = _too_long(manifest[row], found.duration_s, longest_s, reader)
            elif abs(stated[row] - found.duration_s) > NEARBY_S:
                odd.append(row)
    notes = []
    if odd:
        one = manifest[odd[0]].id
        notes.append(
            f"WARNING: {len(odd)} clips last otherwise than their duration says ({one!r}: {durations[odd[0]]:.2f} s, "
            f"not {stated[odd[0]]:.2f}): the whole file is used. Add a column 'offset' where excerpts are meant."
        )
    full = manifest.with_column("duration_s", durations).with_column("sampling_rate", rates)
    return Checked(full.with_column("audio_digest", digests), problems, notes)


def require_unchanged(manifest: Manifest) -> None:
    """Raise ValueError if the audio of clips is no longer that of their ``audio_digest``."""
    known = np.flatnonzero([d is not None for d in manifest.column("audio_digest")])
    part = manifest.take(known)
    changed = []
    for clip, digest, found in zip(part, part.column("audio_digest"), _checked(part), strict=True):
        if isinstance(found, AudioError):
            raise found
        if found is None or found.digest != digest:
            changed.append(clip.id)
    if changed:
        raise ValueError(
            f"audio must be that of the manifest's audio_digest, but that of {len(changed)} clips is another, for "
            f"example of {changed[0]!r}. Put the recordings back, or fit again in another folder."
        )


class _Nearby:
    """What a missing file's message may add: a name that differs in capitals only, or that its path is of Windows."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, str]] = {}

    def hint(self, path: str | bytes | None) -> str:
        if not isinstance(path, str) or "://" in path or Path(path).exists():
            return ""
        if "\\" in path:
            return " It is written as on Windows: here '/' separates folders, and there is no drive."
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
    """Yield what decoding every clip to its end found, in order; None for a clip without audio."""
    with ThreadPoolExecutor(THREADS) as pool, _bar(len(manifest)) as advance:
        for start in range(0, len(manifest), CLIPS_AT_ONCE):
            clips = [manifest[row] for row in range(start, min(start + CLIPS_AT_ONCE, len(manifest)))]
            for found in pool.map(_checked_clip, clips):
                advance()
                yield found


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
    """Context: call what it yields once an item; a bar is shown on the error stream if all takes over two seconds."""
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
