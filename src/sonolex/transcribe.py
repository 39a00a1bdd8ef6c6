"""Fill in missing transcripts with a speech recogniser, clip by clip, so that a killed run goes on where it was.

Every finished clip is one line in a journal beside the output; the manifest is written when all of them are there, with
the recogniser's name in the column ``transcribed_by``. A transcript that is there already is never touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sonolex.audio.io import read_audio
from sonolex.configs import find_module
from sonolex.data.manifest import Manifest, read_manifest
from sonolex.recognisers.base import RATE_HZ, Recogniser

BY = "transcribed_by"


def transcribe(manifest: str | Path, *, asr: str, out: str | Path) -> Manifest:
    """Return the manifest with transcripts for all its clips with audio, and write it to ``out``.

    Args:
        asr: module in ``sonolex.recognisers``, and after a colon its model, e.g. ``whisper:openai/whisper-tiny.en``.

    Raises:
        ValueError: ``out`` is the input, or its journal was written by another recogniser.
        AudioError: a clip that cannot be read; finished clips are kept.
    """
    out = Path(out)
    if out.resolve() == Path(manifest).resolve():
        raise ValueError(f"`out` must be another file than the manifest, but both are {out}.")
    clips = read_manifest(manifest)
    name, _, place = asr.partition(":")
    recogniser = find_module("recognisers", name).open_recogniser(place or None)
    journal = out.with_name(out.name + ".partial.jsonl")
    found = _finished(journal, recogniser.name)
    missing = [c.id for c in clips if c.audio is not None and not (c.text or "").strip() and c.id not in found]
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as file:
        for clip_id, text in _recognised(clips, missing, recogniser):
            found[clip_id] = text
            file.write(json.dumps({"id": clip_id, "text": text, "by": recogniser.name}, ensure_ascii=False) + "\n")
            file.flush()
    texts = [found.get(i, t) if not (t or "").strip() else t for i, t in _rows(clips, "text")]
    by = clips.column(BY) if BY in clips.table.column_names else [None] * len(clips)
    by = [recogniser.name if i in found else b for i, b in zip(clips.column("id"), by, strict=True)]
    filled = clips.with_column("text", [t or None for t in texts]).with_column(BY, by)
    filled.write(out)
    journal.unlink()
    return filled


def _rows(clips: Manifest, column: str) -> Iterator[tuple[str, str | None]]:
    return zip(clips.column("id"), clips.column(column), strict=True)


def _recognised(clips: Manifest, ids: list[str], recogniser: Recogniser) -> Iterator[tuple[str, str]]:
    from rich.progress import track

    for row in track(clips.rows_of(ids) if ids else (), "recognising speech", transient=True):
        clip = clips[int(row)]
        assert clip.audio is not None
        wave_S = read_audio(
            clip.audio,
            rate_hz=RATE_HZ,
            clip_id=clip.id,
            offset_s=clip.offset_s or 0.0,
            duration_s=clip.duration_s if clip.offset_s is not None else None,
            max_duration_s=float("inf"),
        )
        yield clip.id, recogniser.transcribe(wave_S)


def _finished(journal: Path, recogniser: str) -> dict[str, str]:
    """Return what an earlier, interrupted call has heard; its last line may be cut off, and is dropped then."""
    if not journal.is_file():
        return {}
    whole, _, _ = journal.read_bytes().rpartition(b"\n")
    journal.write_bytes(whole + b"\n" if whole else b"")
    rows = [json.loads(line) for line in whole.decode("utf-8").splitlines()]
    others = sorted({row["by"] for row in rows} - {recogniser})
    if others:
        raise ValueError(
            f"{journal} must be {recogniser}'s, but {', '.join(others)} began it. Name another `out`, or remove it."
        )
    return {row["id"]: row["text"] for row in rows}
