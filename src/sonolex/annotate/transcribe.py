"""Fill in missing transcripts with a speech recogniser, clip by clip, so that a killed run goes on where it was.

Every finished clip is one line in a journal beside the output; the manifest is written when all of them are there, with
the recogniser's name in the column ``transcribed_by``. A transcript that is there already is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sonolex.annotate.recognisers.base import RATE_HZ
from sonolex.configs import find_module
from sonolex.data.clip_journal import ClipJournal
from sonolex.data.manifest import Manifest, read_manifest
from sonolex.devices import AUTO

BY = "transcribed_by"


def transcribe(manifest: str | Path, *, asr: str, out: str | Path, device: str = AUTO) -> Manifest:
    """Return the manifest with transcripts for all its clips with audio, and write it to ``out``.

    Args:
        asr: module in ``sonolex.annotate.recognisers``, and after a colon its model, e.g. ``whisper:FOLDER`` or
            ``whisper:hub:openai/whisper-tiny.en``.
        device: what computes: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        ValueError: ``out`` is the input, its journal was written by another recogniser, or no such device.
        AudioError: a clip that cannot be read; finished clips are kept.
    """
    from rich.progress import track

    out = Path(out)
    if out.resolve() == Path(manifest).resolve():
        raise ValueError(f"`out` must be another file than the manifest, but both are {out}.")
    clips = read_manifest(manifest)
    name, _, place = asr.partition(":")
    recogniser = find_module("annotate.recognisers", name, trust_code=True).open_recogniser(
        place or None, device=device
    )
    journal = ClipJournal(out, recogniser.name)
    transcripts = journal.found
    missing = [c.id for c in clips if c.audio is not None and not (c.text or "").strip() and c.id not in transcripts]
    for row in track(clips.rows_of(missing) if missing else (), "recognising speech", transient=True):
        clip = clips[int(row)]
        journal.add(clip.id, recogniser.transcribe(clip.samples(RATE_HZ, max_duration_s=float("inf"))))
    texts = [transcripts.get(i, t) if not (t or "").strip() else t for i, t in _rows(clips, "text")]
    by = clips.column(BY) if BY in clips.table.column_names else [None] * len(clips)
    by = [recogniser.name if i in transcripts else b for i, b in zip(clips.column("id"), by, strict=True)]
    filled = clips.with_column("text", [t or None for t in texts]).with_column(BY, by)
    filled.write(out)
    journal.close()
    return filled


def _rows(clips: Manifest, column: str) -> Iterator[tuple[str, str | None]]:
    return zip(clips.column("id"), clips.column(column), strict=True)
