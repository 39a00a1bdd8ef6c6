"""Questions about ESC-10's sounds: "is there …?", yes or no, and "what is heard?", one of ten answers.

Three questions a clip: one about its own sound (yes), one about another sound (no), one open. Within every official
fold each sound is asked about equally often with the answer yes and with no, in the same words, so a question alone
says nothing. Recordings, folds and licence are ESC-10's (`sonolex.data.corpora.esc10`).
"""

from __future__ import annotations

from pathlib import Path

from sonolex.data.corpora import esc10
from sonolex.data.corpora.esc10 import SOUNDS
from sonolex.data.corpora.esc50 import CLIPS_PER_CLASS_AND_FOLD
from sonolex.data.manifest import Manifest, manifest_from_rows

WORDS = {
    "baby cry": "a crying baby",
    "chainsaw": "a chainsaw",
    "clock tick": "a ticking clock",
    "dog bark": "a barking dog",
    "fire crackling": "a crackling fire",
    "helicopter": "a helicopter",
    "person sneeze": "a sneeze",
    "rain": "rain",
    "rooster": "a rooster",
    "sea waves": "sea waves",
}
ASKED = ("is there {}?", "can you hear {}?", "is {} in this recording?", "does it sound like {}?")
OPEN = ("what is heard?", "what do you hear?", "which sound is this?", "what makes this sound?")
REWORDED_ASKED = ("do you notice {}?", "was {} recorded here?", "does this clip contain {}?", "is that {}?")
REWORDED_OPEN = ("please name it.", "tell me what is going on.", "what can be noticed?", "what was recorded?")
OTHER_NAMES = {
    "baby cry": "an infant weeping",
    "chainsaw": "a power saw",
    "clock tick": "a wall clock",
    "dog bark": "a puppy",
    "fire crackling": "flames",
    "helicopter": "a chopper",
    "person sneeze": "somebody sneezing",
    "rain": "rainfall",
    "rooster": "a cockerel",
    "sea waves": "the ocean",
}


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return the questions about the corpus under ``root`` (default: ``$SONOLEX_DATA/esc10``).

    Columns: ``text`` is the question; ``reworded`` asks it in words that no ``text`` has, ``renamed`` with another name
    for the sound; ``question`` is its kind, ``present`` the answer of the first kind (yes, no), ``heard`` that of the
    open one; ``sound``, ``fold`` and ``source_id`` are those of the clip.

    Raises:
        FileNotFoundError: no recordings there.
        ValueError: counts differ from the official release, unless ``strict`` is False.
    """
    clips = esc10.prepare(root, strict=strict)
    rows, counts = [], dict.fromkeys(((s, f) for s in SOUNDS for f in "12345"), 0)
    folds, sources = clips.column("fold"), clips.column("source_id")
    for clip, fold, source_id in sorted(zip(clips, folds, sources, strict=True), key=lambda row: row[0].id):
        sound = str(clip.labels["sound"])
        number = counts[sound, fold]
        counts[sound, fold] += 1
        # The n-th clip of a sound asks about the n-th sound after it: over a fold, every sound is denied equally often.
        other = SOUNDS[(SOUNDS.index(sound) + 1 + number % CLIPS_PER_CLASS_AND_FOLD) % len(SOUNDS)]
        yes_no, open_question = ASKED[number % len(ASKED)], OPEN[number % len(OPEN)]
        reworded_yes_no, reworded_open = REWORDED_ASKED[number % len(ASKED)], REWORDED_OPEN[number % len(OPEN)]
        shared = {"audio": clip.audio, "duration_s": clip.duration_s, "sound": sound, "fold": fold, "language": "en"}
        shared |= {"source_id": source_id, "present": None, "heard": None}
        for kind, about in (("yes", sound), ("no", other)):
            texts = {"text": yes_no.format(WORDS[about]), "reworded": reworded_yes_no.format(WORDS[about])}
            texts |= {"renamed": yes_no.format(OTHER_NAMES[about])}
            rows.append(shared | texts | {"id": f"{clip.id}_{kind}", "question": "present", "present": kind})
        texts = {"text": open_question, "reworded": reworded_open, "renamed": open_question}
        rows.append(shared | texts | {"id": f"{clip.id}_open", "question": "heard", "heard": sound})
    return manifest_from_rows(rows)
