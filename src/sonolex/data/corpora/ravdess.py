"""RAVDESS: acted emotional English speech, audio-only part.

Origin: S. R. Livingstone and F. A. Russo, PLoS ONE 13 (2018), zenodo.org/records/1188976. Licence: CC BY-NC-SA 4.0.
Size: 1,440 clips, 24 actors, 48 kHz. Layout: ``Actor_01/03-01-06-01-02-01-12.wav``: modality (03 audio), channel (01
speech), emotion, intensity, statement, repetition, actor (odd: male).
"""

from __future__ import annotations

import re
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""In the order of the release's numbers, from 01."""
STATEMENTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")
INTENSITIES = ("normal", "strong")
NUM_ACTORS = 24
NUM_CLIPS = {e: 96 if e == "neutral" else 192 for e in EMOTIONS}
NAME = re.compile(r"03-01-0([1-8])-0([12])-0([12])-0([12])-(\d\d)")
DOWNLOADS = ("https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",)


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return the speech clips under ``root`` (the folder of ``Actor_01`` …; default: $SONOLEX_DATA/RAVDESS).

    Songs (channel 02) and videos (modalities 01 and 02) are left out.

    Raises:
        FileNotFoundError: no actors there.
        ValueError: counts differ from the official release, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, "RAVDESS", "ravdess")
    if not any(root.glob("Actor_*")):
        raise FileNotFoundError(
            f"`root` must hold Actor_01 to Actor_24, but {root} does not. Unpack the release there."
        )
    rows, problems = [], []
    for file in _layout.audio_files(root, (".",)):
        match = NAME.fullmatch(file.stem)
        if match is None:
            if not re.match(r"0[123]-0[12]-", file.stem) or file.stem.startswith("03-01"):
                problems.append(f"{file.relative_to(root)}: must be named as the release names its files")
            continue
        emotion, intensity, statement, repetition, actor = match.groups()
        if file.parent.name != f"Actor_{actor}" or not 1 <= int(actor) <= NUM_ACTORS:
            problems.append(f"{file.relative_to(root)}: must be in the folder of its actor, Actor_{actor}")
            continue
        rows.append(
            {
                "id": file.stem,
                "audio": str(file.relative_to(root)),
                "text": STATEMENTS[int(statement) - 1],
                "language": "en",
                "speaker": actor,
                "emotion": EMOTIONS[int(emotion) - 1],
                "intensity": INTENSITIES[int(intensity) - 1],
                "repetition": repetition,
                "gender": "male" if int(actor) % 2 else "female",
            }
        )
    groups = [r["emotion"] for r in rows]
    return _layout.checked("RAVDESS", rows, root, groups=groups, expected=NUM_CLIPS, problems=problems, strict=strict)
