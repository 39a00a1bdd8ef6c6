"""CMU-MOSEI: sentences cut from YouTube monologues, with sentiment and six emotions.

Origin: A. Zadeh et al., ACL 2018; CMU-MultimodalSDK. Licence: the videos' own; research use. Size: 23,259 labelled
segments (16,327 train, 1,871 validation, 4,662 test, 399 in no fold). Layout, under ``root``::

    Audio/WAV_16000/VIDEO.wav or Raw/Audio/Full/WAV_16000/VIDEO.wav
    Transcript/Segmented/Combined/VIDEO.txt or Raw/Transcript/…    VIDEO___0___1.2___5.6___the words
    labels.csv    video,segment,fold,sentiment,happy,sad,anger,surprise,disgust,fear

``labels.csv`` is written from the SDK's label file (``CMU_MOSEI_Labels.csd``) with columns in the SDK's own order of
emotions; ``fold`` is train, validation, test or empty. Transcripts are missing for about one video in seven, so a
segment without text is counted and kept as audio only.
"""

from __future__ import annotations

import csv
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest
from sonolex.files import utf8_text
from sonolex.terminal import say

NUM_CLIPS = {"train": 16_327, "validation": 1_871, "test": 4_662, "none": 399}
EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
AUDIO_FOLDERS = ("Audio/WAV_16000", "Raw/Audio/Full/WAV_16000", "Audio/Full/WAV_16000")
TEXT_FOLDERS = ("Transcript/Segmented/Combined", "Raw/Transcript/Segmented/Combined")
COLUMNS = ("video", "segment", "fold", "sentiment", *EMOTIONS)


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return the labelled segments under ``root`` (default: $SONOLEX_DATA/mosei).

    Columns: ``sentiment`` in [-3, 3], each emotion in [0, 3], and ``emotions``, those above 0 (CALM section 5.2).

    Raises:
        FileNotFoundError: labels.csv, audio or transcripts are missing.
        ValueError: counts differ from the standard folds, or segments lack audio or times, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, "CMU-MOSEI", "mosei")
    audio = {p.stem: p for p in _layout.audio_files(root, AUDIO_FOLDERS)}
    segments, problems = _segments(root)
    rows, without_text = [], 0
    for label in _labels(root):
        video, segment = label["video"], int(label["segment"])
        times = segments.get((video, segment))
        if video not in audio or times is None:
            problems.append(f"{video}, segment {segment}: {'audio' if video not in audio else 'times'} missing")
            continue
        start, end, text = times
        without_text += not text
        rows.append(
            {
                "id": f"{video}_{segment}",
                "audio": str(audio[video].relative_to(root)),
                "offset_s": start,
                "duration_s": end - start,
                "text": text or None,
                "language": "en",
                "source_id": video,
                "split": label["fold"] or "none",
                "sentiment": float(label["sentiment"]),
                **{e: float(label[e]) for e in EMOTIONS},
                "emotions": ";".join(e for e in EMOTIONS if float(label[e]) > 0) or "none",
            }
        )
    say(f"CMU-MOSEI: {without_text} of {len(rows)} segments have no transcript")
    groups = [r["split"] for r in rows]
    return _layout.checked("CMU-MOSEI", rows, root, groups=groups, expected=NUM_CLIPS, problems=problems, strict=strict)


def _labels(root: Path) -> list[dict[str, str]]:
    path = root / "labels.csv"
    if not path.is_file():
        raise FileNotFoundError(f"`root` must hold labels.csv with columns {', '.join(COLUMNS)}, but {root} does not.")
    with utf8_text(path) as f:
        rows = list(csv.DictReader(f))
    missing = [c for c in COLUMNS if rows and c not in rows[0]]
    if not rows or missing:
        raise ValueError(f"{path} must have rows with columns {', '.join(COLUMNS)}, but lacks {missing or 'rows'}.")
    return rows


def _segments(root: Path) -> tuple[dict[tuple[str, int], tuple[float, float, str]], list[str]]:
    folder = next((root / f for f in TEXT_FOLDERS if (root / f).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"`root` must hold {' or '.join(TEXT_FOLDERS)}, but {root} does not.")
    segments, problems = {}, []
    for path in sorted(folder.glob("*.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            parts = line.split("___", 4)
            try:
                video, segment, start, end = parts[0], int(parts[1]), float(parts[2]), float(parts[3])
            except (IndexError, ValueError):
                problems.append(f"{path.name}, line {number}: must be video___segment___start___end___words")
                continue
            segments[video, segment] = (start, end, parts[4].strip() if len(parts) > 4 else "")
    return segments, problems
