"""MSP-Podcast: turns cut from podcasts, each labelled by five and more listeners.

Origin: R. Lotfian & C. Busso, IEEE Trans. Affective Computing 2019; UT Dallas. Licence: academic, by agreement.
Size: grows with every release (1.6: about 50,000 turns, 83 h; 1.11: 151,654). Layout, under ``root``::

    Audios/MSP-PODCAST_0001_0008.wav (or Audio/)
    Labels/labels_consensus.csv (or labels_concensus.csv)   FileName,EmoClass,…,SpkrID,Gender,Split_Set
    Labels/labels_detailed.csv    FileName,…,EmoClass_Major,EmoClass_Second,…    (one row per listener; optional)
    Transcripts/MSP-PODCAST_0001_0008.txt    (optional; or fill them in with `sonolex transcribe`)

The consensus classes are letters: A angry, S sad, H happy, U surprise, F fear, D disgust, C contempt, N neutral, O
other, X no agreement.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest
from sonolex.files import utf8_text

LETTERS = dict(
    zip("ASHUFDCN", ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral"), strict=True)
)
EMOTIONS = tuple(LETTERS.values())
WITHOUT_CLASS = ("O", "X")  # other, no agreement: not classified (CALM section 5.3)
SPLITS = {"train": "train", "validation": "validation", "development": "validation"}
CONSENSUS = ("Labels/labels_consensus.csv", "Labels/labels_concensus.csv")
DETAILED = "Labels/labels_detailed.csv"


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return all turns under ``root`` (default: $SONOLEX_DATA/msp_podcast).

    Columns: ``emotion``, the class of most listeners (empty for other and no agreement); ``emotions``, every emotion
    that a listener chose as primary or secondary, joined by ";" (empty where labels_detailed.csv is not there);
    ``speaker`` (empty where unknown); ``split``: train, validation, test1, test2, ….

    Raises:
        FileNotFoundError: audio or labels are missing.
        ValueError: turns lack their audio, or have an unknown class or no part, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, "MSP-Podcast", "msp_podcast")
    audio = {p.name: p for p in _layout.audio_files(root, ("Audios", "Audio"))}
    chosen = _chosen(root / DETAILED)
    rows, problems = [], []
    for label in _consensus(root):
        name, letter, part = label["FileName"], label["EmoClass"].strip(), label["Split_Set"].strip().lower()
        if name not in audio or letter not in (*LETTERS, *WITHOUT_CLASS) or not part:
            wrong = "audio missing" if name not in audio else f"class {letter!r}, part {part!r}"
            problems.append(f"{name}: {wrong}")
            continue
        transcript = root / "Transcripts" / f"{Path(name).stem}.txt"
        text = transcript.read_text(encoding="utf-8").strip() if transcript.is_file() else ""
        speaker = label.get("SpkrID", "").strip()
        rows.append(
            {
                "id": Path(name).stem,
                "audio": str(audio[name].relative_to(root)),
                "text": text or None,
                "language": "en",
                "speaker": speaker if speaker.lower() not in ("", "unknown") else None,
                "source_id": name.rsplit("_", 1)[0],
                "split": SPLITS.get(part, part),
                "emotion": LETTERS.get(letter),
                "emotions": chosen.get(name),
            }
        )
    groups = ["turns"] * len(rows)
    expected = {"turns": len(rows) + len(problems)}
    return _layout.checked(
        "MSP-Podcast", rows, root, groups=groups, expected=expected, problems=problems, strict=strict
    )


def _consensus(root: Path) -> list[dict[str, str]]:
    path = next((root / name for name in CONSENSUS if (root / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"`root` must hold {' or '.join(CONSENSUS)}, but {root} does not.")
    with utf8_text(path) as file:
        rows = list(csv.DictReader(file))
    missing = [c for c in ("FileName", "EmoClass", "Split_Set") if not rows or c not in rows[0]]
    if missing:
        raise ValueError(f"{path} must have columns FileName, EmoClass and Split_Set, but lacks {', '.join(missing)}.")
    return rows


def _chosen(path: Path) -> dict[str, str]:
    """Return, by file, the emotions that any listener named first or second; "none" where no listener named one."""
    if not path.is_file():
        return {}
    named: dict[str, set[str]] = defaultdict(set)
    with utf8_text(path) as file:
        for row in csv.DictReader(file):
            words = f"{row.get('EmoClass_Major') or ''},{row.get('EmoClass_Second') or ''}".lower().split(",")
            named[row["FileName"]] |= {w.strip() for w in words}
    return {name: ";".join(e for e in EMOTIONS if e in words) or "none" for name, words in named.items()}
