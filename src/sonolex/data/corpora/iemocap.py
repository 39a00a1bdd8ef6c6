"""IEMOCAP: ten actors in five dyadic sessions, scripted and improvised, labelled utterance by utterance.

Origin: C. Busso et al., Language Resources and Evaluation 2008; by licence from USC SAIL. Size: 10,039 utterances,
12 h, 16 kHz WAV. Layout, under ``IEMOCAP_full_release``::

    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt     [6.29 - 8.24]	Ses01F_impro01_F000	neu	[2.5, 2.5, 2.5]
    Session1/dialog/transcriptions/Ses01F_impro01.txt    Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.

The speaker is session and gender: the letter in front of the utterance number, not the one after the session number.
"""

from __future__ import annotations

import re
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest

EMOTIONS = {
    "neu": "neutral", "hap": "happy", "exc": "excited", "ang": "angry", "sad": "sad", "fru": "frustrated",
    "sur": "surprised", "fea": "afraid", "dis": "disgusted", "oth": "other", "xxx": "no agreement",
}  # fmt: skip
# Counts of the five labels that papers use, by session 1 to 5 (s3prl's and EmoBox's lists agree).
COUNTS = {
    "neutral": (384, 362, 320, 258, 384),
    "happy": (135, 117, 135, 65, 143),
    "excited": (143, 210, 151, 238, 299),
    "angry": (229, 137, 240, 327, 170),
    "sad": (194, 197, 305, 143, 245),
}
LABEL_LINE = re.compile(r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<id>\S+)\t(?P<emotion>\w+)\t\[(?P<vad>[^\]]*)\]")
TEXT_LINE = re.compile(r"(?P<id>Ses\d\d\S+) \[[^\]]*\]:\s?(?P<text>.*)")
UTTERANCE = re.compile(r"Ses(?P<session>\d\d)[FM]_.+_(?P<gender>[FM])[X\d]\d+")


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return all labelled utterances under ``root`` (the folder with ``Session1`` …; default: $SONOLEX_DATA).

    Raises:
        FileNotFoundError: a session is missing.
        ValueError: counts of the five usual labels differ, or audio or labels are missing, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, "IEMOCAP_full_release", "IEMOCAP", "iemocap")
    rows, problems = [], []
    for session in range(1, 6):
        folder = root / f"Session{session}"
        if not folder.is_dir():
            raise FileNotFoundError(f"`root` must hold Session{session}, but {root} does not.")
        rows += _session_rows(root, folder, problems)
    groups = [f"session {r['session']}, {r['emotion']}" for r in rows if r["emotion"] in COUNTS]
    expected = {f"session {s}, {e}": n for e, counts in COUNTS.items() for s, n in enumerate(counts, start=1)}
    return _layout.checked("IEMOCAP", rows, root, groups=groups, expected=expected, problems=problems, strict=strict)


def _session_rows(root: Path, folder: Path, problems: list[str]) -> list[dict]:
    texts = {}
    for path in sorted((folder / "dialog" / "transcriptions").glob("*.txt")):
        for line in path.read_text(encoding="latin-1").splitlines():
            if match := TEXT_LINE.match(line):
                texts[match["id"]] = match["text"].strip()
    rows = []
    for path in sorted((folder / "dialog" / "EmoEvaluation").glob("*.txt")):
        for match in LABEL_LINE.finditer(path.read_text(encoding="latin-1")):
            rows.append(_row(root, folder, match, texts, problems))
    return [r for r in rows if r]


def _row(root: Path, folder: Path, match: re.Match, texts: dict[str, str], problems: list[str]) -> dict | None:
    clip_id = match["id"]
    name = UTTERANCE.fullmatch(clip_id)
    file = folder / "sentences" / "wav" / clip_id.rsplit("_", 1)[0] / f"{clip_id}.wav"
    if name is None or match["emotion"] not in EMOTIONS:
        problems.append(f"{clip_id}: utterance name or emotion {match['emotion']!r} is not understood")
        return None
    if not file.is_file():
        problems.append(f"{clip_id}: {file.relative_to(root)} is missing")
        return None
    valence, activation, dominance = (float(v) for v in match["vad"].split(","))
    return {
        "id": clip_id,
        "audio": str(file.relative_to(root)),
        "text": texts.get(clip_id) or None,
        "language": "en",
        "speaker": f"{int(name['session'])}{name['gender']}",
        "session": str(int(name["session"])),
        "emotion": EMOTIONS[match["emotion"]],
        "valence": valence,
        "activation": activation,
        "dominance": dominance,
    }
