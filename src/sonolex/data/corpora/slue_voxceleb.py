"""SLUE-VoxCeleb: interview turns with their sentiment, transcribed.

Origin: S. Shon et al., ICASSP 2022 (SLUE), labels and transcripts over VoxCeleb1. Licence: CC BY 4.0 (labels).
Size: 5,777 clips to fine-tune on, 1,454 for development, 3,553 blind test clips, 16 kHz. Layout, under ``root``::

    slue-voxceleb_fine-tune.tsv    id  normalized_text  speaker_id  sentiment  start_second  end_second
    slue-voxceleb_dev.tsv
    slue-voxceleb_test_blind.tsv   (optional; without sentiment)
    fine-tune_raw/ID.flac  dev_raw/ID.flac  test_raw/ID.flac

Releases: 0.2 (July 2022) drew the development set anew, with the same counts. Numbers of 0.1 and 0.2 cannot be
compared, so the release is part of every clip's id and with that of a fingerprint.
"""

from __future__ import annotations

import csv
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest
from sonolex.files import utf8_text

RELEASES = ("0.1", "0.2")
COUNTS = {"fine-tune": 5777, "dev": 1454}
SPLITS = {"fine-tune": "train", "dev": "validation", "test_blind": "test"}
SENTIMENTS = ("Negative", "Neutral", "Positive")
DISPUTED = ("Mixed", "Disagreement")  # 48 and 17 clips: no one sentiment


def prepare(
    root: str | Path | None = None, *, release: str = "0.2", disputed: str = "drop", strict: bool = True
) -> Manifest:
    """Return the clips under ``root`` (default: $SONOLEX_DATA/slue-voxceleb).

    Columns: ``sentiment`` (empty for disputed clips and the blind test part), ``speaker``, ``split``: train
    (fine-tune), validation (dev), test (blind).

    Args:
        release: "0.2" or "0.1", as the folder was downloaded; the files do not say it.
        disputed: what Mixed and Disagreement become: "drop", no sentiment (5,729 and 1,437 clips remain), or
            "neutral". SLUE's own code does one in one place and the other in another.

    Raises:
        FileNotFoundError: the labels are missing.
        ValueError: an unknown option; counts differ, audio is missing or a label unknown, unless ``strict`` is False.
    """
    for name, value, allowed in (("release", release, RELEASES), ("disputed", disputed, ("drop", "neutral"))):
        if value not in allowed:
            raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, but is {value!r}.")
    root = _layout.corpus_root(root, "SLUE-VoxCeleb", "slue-voxceleb", "slue_voxceleb")
    rows, problems, groups = [], [], []
    for part, split in SPLITS.items():
        table = root / f"slue-voxceleb_{part}.tsv"
        if not table.is_file():
            if part == "test_blind":
                continue
            raise FileNotFoundError(f"`root` must hold {table.name}, but {root} does not. Unpack the release there.")
        folder = "test_raw" if part == "test_blind" else f"{part}_raw"
        for clip in _lines(table):
            label = (clip.get("sentiment") or "").strip()
            audio = Path(folder) / f"{clip['id']}.flac"
            if part != "test_blind" and label not in (*SENTIMENTS, *DISPUTED):
                problems.append(f"{clip['id']}: sentiment {label!r}")
                continue
            if not (root / audio).is_file():
                problems.append(f"{clip['id']}: audio missing")
                continue
            if part in COUNTS:
                groups.append(part)
            rows.append(
                {
                    "id": f"v{release}_{clip['id']}",
                    "audio": str(audio),
                    "text": clip["normalized_text"].strip() or None,
                    "language": "en",
                    "speaker": clip.get("speaker_id") or None,
                    "split": split,
                    "sentiment": _sentiment(label, disputed),
                }
            )
    name = f"SLUE-VoxCeleb {release}"
    return _layout.checked(name, rows, root, groups=groups, expected=COUNTS, problems=problems, strict=strict)


def _lines(table: Path) -> list[dict[str, str]]:
    with utf8_text(table) as file:
        lines = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    missing = [c for c in ("id", "normalized_text") if not lines or c not in lines[0]]
    if missing:
        raise ValueError(f"{table} must have columns id and normalized_text, but lacks {', '.join(missing)}.")
    return lines


def _sentiment(label: str, disputed: str) -> str | None:
    if label in DISPUTED:
        return "neutral" if disputed == "neutral" else None
    return label.lower() or None
