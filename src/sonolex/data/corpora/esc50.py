"""ESC-50: environmental sounds, 50 classes of 40 clips; ESC-10 is a part of it (`sonolex.data.corpora.esc10`).

Origin: github.com/karolpiczak/ESC-50 (doi:10.7910/DVN/YDEPUT). Licence: CC BY-NC 3.0 (ESC-10: CC BY 3.0). Size: 2,000
clips of 5 s, 2.8 h, 44.1 kHz. Layout: ``audio/{fold}-{clip}-{take}-{target}.wav`` and ``meta/esc50.csv``. Official
folds: 1 to 5; clips cut from one recording share a fold.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest
from sonolex.files import utf8_text

FOLDS = ("1", "2", "3", "4", "5")
CLIPS_PER_CLASS_AND_FOLD = 8
CLASSES = (
    "dog",
    "rooster",
    "pig",
    "cow",
    "frog",
    "cat",
    "hen",
    "insects",
    "sheep",
    "crow",
    "rain",
    "sea waves",
    "crackling fire",
    "crickets",
    "chirping birds",
    "water drops",
    "wind",
    "pouring water",
    "toilet flush",
    "thunderstorm",
    "crying baby",
    "sneezing",
    "clapping",
    "breathing",
    "coughing",
    "footsteps",
    "laughing",
    "brushing teeth",
    "snoring",
    "drinking sipping",
    "door wood knock",
    "mouse click",
    "keyboard typing",
    "door wood creaks",
    "can opening",
    "washing machine",
    "vacuum cleaner",
    "clock alarm",
    "clock tick",
    "glass breaking",
    "helicopter",
    "chainsaw",
    "siren",
    "car horn",
    "engine",
    "train",
    "church bells",
    "airplane",
    "fireworks",
    "hand saw",
)
"""In the order of the release's target numbers."""
NAME = re.compile(r"(?P<fold>[1-5])-(?P<source>\d+)-(?P<take>[A-Z])(-(?P<target>\d+))?")


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return the corpus under ``root`` (default: ``$SONOLEX_DATA/esc50``).

    Raises:
        FileNotFoundError: no recordings or no meta/esc50.csv there.
        ValueError: counts differ from the official release, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, "esc50", "ESC-50", "ESC-50-master")
    table = root / "meta" / "esc50.csv"
    if not table.is_file():
        raise FileNotFoundError(f"`root` must hold meta/esc50.csv, but {root} does not. Unpack the release there.")
    with utf8_text(table) as f:
        listed = {row["filename"]: row for row in csv.DictReader(f)}
    rows, problems = [], []
    for file in _layout.audio_files(root, ("audio",)):
        match, entry = NAME.fullmatch(file.stem), listed.pop(file.name, None)
        if match is None or entry is None:
            problems.append(f"{file.name}: must be named fold-clip-take-target and be in meta/esc50.csv")
            continue
        if entry["fold"] != match["fold"] or entry["target"] != match["target"]:
            problems.append(f"{file.name}: fold and target must be those of meta/esc50.csv, but are not")
            continue
        in_esc10 = entry.get("esc10", "").strip().lower() == "true"
        sound = entry["category"].replace("_", " ")
        rows.append(row_of(file, root, match, sound) | {"esc10": in_esc10})
    problems += [f"{name}: is in meta/esc50.csv, but not in audio" for name in sorted(listed)]
    expected = {f"{s}, fold {f}": CLIPS_PER_CLASS_AND_FOLD for s in CLASSES for f in FOLDS}
    groups = [f"{r['sound']}, fold {r['fold']}" for r in rows]
    return _layout.checked("ESC-50", rows, root, groups=groups, expected=expected, problems=problems, strict=strict)


def row_of(file: Path, root: Path, match: re.Match, sound: str) -> dict:
    """Return a manifest row of one ESC clip."""
    return {
        "id": file.stem,
        "audio": str(file.relative_to(root)),
        "source_id": match["source"],
        "fold": match["fold"],
        "sound": sound,
    }
