"""Speech Commands v2: one-second recordings of 35 English words.

Origin: tensorflow.org/datasets (Warden 2018, arXiv:1804.03209), ``speech_commands_v0.02.tar.gz``. Licence: CC BY 4.0.
Size: 105,829 clips, 28.5 h, 16 kHz, 2,618 speakers. Layout: ``word/{speaker}_nohash_{take}.wav`` with
``validation_list.txt`` and ``testing_list.txt``; ``_background_noise_`` is not part of the 35 words.
"""

from __future__ import annotations

import re
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest

WORDS = (
    "backward",
    "bed",
    "bird",
    "cat",
    "dog",
    "down",
    "eight",
    "five",
    "follow",
    "forward",
    "four",
    "go",
    "happy",
    "house",
    "learn",
    "left",
    "marvin",
    "nine",
    "no",
    "off",
    "on",
    "one",
    "right",
    "seven",
    "sheila",
    "six",
    "stop",
    "three",
    "tree",
    "two",
    "up",
    "visual",
    "wow",
    "yes",
    "zero",
)
EXPECTED = {"train": 84_843, "validation": 9_981, "test": 11_005}
NAME = re.compile(r"(?P<speaker>[0-9a-f]{8})_nohash_(?P<take>\d+)")


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return the corpus under ``root`` (default: ``$SONOLEX_DATA/speech_commands``) with its official division.

    Raises:
        FileNotFoundError: no words or no lists there.
        ValueError: counts differ from the official release, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, "speech_commands", "speech_commands_v0.02", "SpeechCommands")
    splits: dict[str, str] = {}
    for split, name in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        if not (root / name).is_file():
            raise FileNotFoundError(f"`root` must hold {name}, but {root} does not. Unpack the release there.")
        splits |= dict.fromkeys((root / name).read_text(encoding="utf-8").split(), split)
    rows, problems = [], []
    for word in WORDS:
        for file in _layout.audio_files(root, (word,)) if (root / word).is_dir() else ():
            match = NAME.fullmatch(file.stem)
            if match is None:
                problems.append(f"{word}/{file.name}: name must be speaker_nohash_take")
                continue
            place = file.relative_to(root).with_suffix(".wav").as_posix()
            rows.append(
                {
                    "id": f"{word}_{file.stem}",
                    "audio": str(file.relative_to(root)),
                    "text": word,
                    "language": "en",
                    "speaker": match["speaker"],
                    "split": splits.pop(place, "train"),
                    "word": word,
                }
            )
    problems += [f"{place}: is in the official lists, but not in the folders" for place in sorted(splits)]
    problems += [f"{word}: has no folder" for word in WORDS if not (root / word).is_dir()]
    if not rows:
        raise FileNotFoundError(f"`root` must hold a folder of recordings per word, but {root} does not.")
    groups = [r["split"] for r in rows]
    return _layout.checked(
        "Speech Commands", rows, root, groups=groups, expected=EXPECTED, problems=problems, strict=strict
    )
