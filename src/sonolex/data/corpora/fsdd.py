"""Free Spoken Digit Dataset: six English speakers say each digit fifty times.

Origin: github.com/Jakobovski/free-spoken-digit-dataset (doi:10.5281/zenodo.1342401). Licence: CC BY-SA 4.0.
Size: 3,000 clips, 0.37 h, 8 kHz. Layout: ``recordings/{digit}_{speaker}_{index}.wav`` (or ``audio/*.flac``).
Official split: index 0–4 is test, 5–49 train; every speaker is in both.
"""

from __future__ import annotations

import re
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUM_CLIPS = 3_000
NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)")


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return the corpus under ``root`` (default: ``$SONOLEX_DATA/fsdd``).

    Columns: ``digit`` as a word, and two of its properties, ``even`` and ``above_four`` (yes, no).

    Raises:
        FileNotFoundError: no recordings there.
        ValueError: counts differ from the official release, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, "fsdd")
    files = _layout.audio_files(root, ("recordings", "audio"))
    rows, problems = [], []
    for file in files:
        match = NAME.fullmatch(file.stem)
        if match is None:
            problems.append(f"{file.name}: name must be digit_speaker_index")
            continue
        digit = int(match["digit"])
        rows.append(
            {
                "id": file.stem,
                "audio": str(file.relative_to(root)),
                "text": DIGITS[digit],
                "language": "en",
                "speaker": match["speaker"],
                "split": "test" if int(match["index"]) < 5 else "train",
                "digit": DIGITS[digit],
                "even": "no" if digit % 2 else "yes",
                "above_four": "yes" if digit > 4 else "no",
            }
        )
    expected = {f"{s}, {d}": 50 for s in SPEAKERS for d in DIGITS}
    groups = [f"{r['speaker']}, {r['digit']}" for r in rows]
    return _layout.checked("FSDD", rows, root, groups=groups, expected=expected, problems=problems, strict=strict)
