"""Berlin Database of Emotional Speech (EMO-DB): ten actors speak ten German sentences in seven emotions.

Origin: F. Burkhardt et al., Interspeech 2005; zenodo.org/records/7447302. Licence: CC0 1.0 (audeering's release) or
CC BY 4.0 (Zenodo): cite the authors. Size: 535 clips, 0.41 h, 16 kHz. Layout: ``wav/03a01Fa.wav`` (or ``audio/*``):
characters 1–2 speaker, 3–5 sentence, 6 emotion, 7 version. The speakers share the sentences, so text tells nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest

EMOTIONS = {
    "W": "angry",
    "L": "bored",
    "E": "disgusted",
    "A": "afraid",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
NUM_CLIPS = {"angry": 127, "bored": 81, "disgusted": 46, "afraid": 69, "happy": 71, "sad": 62, "neutral": 79}
SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
MALE = ("03", "10", "11", "12", "15")
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[WLEAFTN])(?P<version>[a-z])")


def prepare(root: str | Path | None = None, *, emotions: tuple[str, ...] = (), strict: bool = True) -> Manifest:
    """Return the corpus under ``root`` (default: ``$SONOLEX_DATA/emodb`` or ``emodb4``).

    Args:
        emotions: keep only these; default: all seven.

    Raises:
        FileNotFoundError: no recordings there.
        ValueError: counts differ from the official release, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, "emodb", "emodb4")
    wanted = emotions or tuple(NUM_CLIPS)
    rows, problems = [], []
    for file in _layout.audio_files(root, ("wav", "audio")):
        match = NAME.fullmatch(file.stem)
        if match is None:
            problems.append(f"{file.name}: name must be speaker, sentence, emotion, version, e.g. 03a01Fa")
            continue
        if EMOTIONS[match["emotion"]] in wanted:
            rows.append(
                {
                    "id": file.stem,
                    "audio": str(file.relative_to(root)),
                    "text": SENTENCES.get(match["sentence"]),
                    "language": "de",
                    "speaker": match["speaker"],
                    "emotion": EMOTIONS[match["emotion"]],
                    "gender": "male" if match["speaker"] in MALE else "female",
                    "sentence": match["sentence"],
                }
            )
    groups = [r["emotion"] for r in rows]
    expected = {e: NUM_CLIPS[e] for e in wanted}
    return _layout.checked("EMO-DB", rows, root, groups=groups, expected=expected, problems=problems, strict=strict)
