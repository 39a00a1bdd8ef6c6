"""Clotho-AQA: questions about everyday sounds, answered by three people each.

Origin: S. Lipping et al., EUSIPCO 2022, zenodo.org/records/6473207. Licence: the recordings' own Creative Commons
licences; questions MIT. Size: 1,991 clips of 15 to 30 s, six questions each (two answered by yes or no), 44.1 kHz.
Layout: ``audio_files/*.wav``, ``clotho_aqa_{train,val,test}.csv`` (file_name, QuestionText, answer, confidence: a line
per answer) and ``clotho_aqa_metadata.csv`` with each clip's Freesound number.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest
from sonolex.files import utf8_text
from sonolex.terminal import say

NUM_CLIPS = {"train": 1174, "val": 344, "test": 473}
YES_NO = frozenset({"yes", "no"})
MERGES = ("majority", "unanimous", "each")
RECORD = "https://zenodo.org/records/6473207/files"
DOWNLOADS = tuple(
    f"{RECORD}/{name}"
    for name in ("audio_files.zip", "clotho_aqa_metadata.csv", *(f"clotho_aqa_{s}.csv" for s in NUM_CLIPS))
)


def prepare(root: str | Path | None = None, *, merge: str = "majority", strict: bool = True) -> Manifest:
    """Return one row per question under ``root`` (default: $SONOLEX_DATA/ClothoAQA).

    Columns: ``text`` is the question, ``question`` its kind ("binary" if all its answers are yes or no, else "open"),
    ``binary`` and ``open`` the answer in lower case, ``agreement`` the share of annotators who gave it, ``source_id``
    the recording's Freesound number.

    Args:
        merge: of a question's annotators. "majority" takes the answer that more of them gave than any other and leaves
            out (and counts) questions without one; "unanimous" keeps only questions on which all agree; "each" makes a
            row of every annotator's answer.

    Raises:
        FileNotFoundError: no questions or recordings there.
        ValueError: counts differ from the official release, unless ``strict`` is False; unknown ``merge``.
    """
    if merge not in MERGES:
        raise ValueError(f"`merge` must be one of {', '.join(MERGES)}, but is {merge!r}.")
    root = _layout.corpus_root(root, "ClothoAQA", "clotho_aqa", "clotho-aqa")
    files = {_plain(f.name): f for f in _layout.audio_files(root, ("audio_files",))}
    numbers = _freesound_numbers(root / "clotho_aqa_metadata.csv")
    rows, problems, groups = [], [], []
    undecided = 0
    for split in NUM_CLIPS:
        questions = _answers(root / f"clotho_aqa_{split}.csv", problems)
        groups += [split] * len({name for name, _ in questions})
        for number, ((name, question), answers) in enumerate(questions.items()):
            file = files.get(_plain(name))
            if file is None:
                problems.append(f"clotho_aqa_{split}.csv: {name} is not in audio_files")
                continue
            kind = "binary" if set(answers) <= YES_NO else "open"
            decided = _merged(answers, merge)
            undecided += not decided
            for place, (answer, agreement) in enumerate(decided):
                rows.append(
                    {
                        "id": f"{split}-{number:05d}" + (f"-{place}" if merge == "each" else ""),
                        "audio": str(file.relative_to(root)),
                        "text": question,
                        "language": "en",
                        "split": split,
                        "source_id": numbers.get(_plain(name)),
                        "question": kind,
                        "binary": answer if kind == "binary" else None,
                        "open": answer if kind == "open" else None,
                        "agreement": agreement,
                    }
                )
    if undecided:
        say(f"Clotho-AQA: {undecided} questions have no {merge} answer and are left out")
    return _layout.checked(
        "Clotho-AQA", rows, root, groups=groups, expected=NUM_CLIPS, problems=problems, strict=strict
    )


def _answers(path: Path, problems: list[str]) -> dict[tuple[str, str], list[str]]:
    """Return every annotator's answer by (file, question), in the file's order."""
    if not path.is_file():
        raise FileNotFoundError(f"`root` must hold {path.name}, but does not. Download the release there.")
    answers: dict[tuple[str, str], list[str]] = {}
    with utf8_text(path) as f:
        for number, row in enumerate(csv.DictReader(f), start=2):
            name, question, answer = (
                " ".join((row.get(k) or "").split()) for k in ("file_name", "QuestionText", "answer")
            )
            if not (name and question and answer):
                problems.append(f"{path.name}, line {number}: must have file_name, QuestionText and answer")
                continue
            answers.setdefault((name, question), []).append(answer.lower())
    return answers


def _merged(answers: list[str], merge: str) -> list[tuple[str, float]]:
    counts = Counter(answers).most_common()
    share = {answer: count / len(answers) for answer, count in counts}
    if merge == "each":
        return [(a, share[a]) for a in answers]
    tied = len(counts) > 1 and counts[0][1] == counts[1][1]
    if tied or (merge == "unanimous" and len(counts) > 1):
        return []
    return [(counts[0][0], share[counts[0][0]])]


def _freesound_numbers(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(f"`root` must hold {path.name}, but does not. Download the release there.")
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as f:
        rows = [row for row in csv.DictReader(f) if row.get("file_name")]
    return {_plain(row["file_name"]): row["sound_id"] for row in rows if (row.get("sound_id") or "").strip().isdigit()}


def _plain(name: str) -> str:
    """Return a file name by its letters and digits: the release spells "souffle_me.tallique.wav" in two ways."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold())
