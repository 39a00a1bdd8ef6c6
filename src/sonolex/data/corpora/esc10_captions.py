"""A caption for each of ESC-10's clips: its sound in one of four wordings, for objectives that join sound and words.

Recordings, folds and licence are ESC-10's (`sonolex.data.corpora.esc10`). The captions name the label, so only training
folds may be used.
"""

from __future__ import annotations

from pathlib import Path

from sonolex.data.corpora import esc10
from sonolex.data.corpora.esc10_questions import WORDS
from sonolex.data.manifest import Manifest, manifest_from_rows

WORDINGS = ("{}", "the sound of {}", "this is {}", "{} can be heard")


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return every clip with its caption as ``text``, its ``sound``, ``fold`` and ``source_id``.

    Raises:
        FileNotFoundError: no recordings there.
        ValueError: counts differ from the official release, unless ``strict`` is False.
    """
    clips = esc10.prepare(root, strict=strict)
    folds, sources = clips.column("fold"), clips.column("source_id")
    rows = []
    for number, (clip, fold, source_id) in enumerate(zip(clips, folds, sources, strict=True)):
        sound = str(clip.labels["sound"])
        rows.append(
            {
                "id": f"{clip.id}_caption",
                "audio": clip.audio,
                "text": WORDINGS[number % len(WORDINGS)].format(WORDS[sound]),
                "language": "en",
                "sound": sound,
                "fold": fold,
                "source_id": source_id,
            }
        )
    return manifest_from_rows(rows)
