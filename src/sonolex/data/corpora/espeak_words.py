"""The words of ToneWords, one at a time: 120 words with a sentiment and 10 keywords, each by 80 espeak-ng voices.

A model learns from it to recognise single words before it has to find them in a sentence. Opposites sound alike
(careful, careless). Voices and their splits are ToneWords'. 10,400 clips of about 0.7 s. Licence: generated, no rights
reserved.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sonolex.configs import cache_folder
from sonolex.data.corpora._spoken import recorded, speak_in_fresh_process, written
from sonolex.data.corpora.tonewords import KEYWORDS, NUM_VOICES, WORDS, voices
from sonolex.data.manifest import Manifest, manifest_from_rows, read_manifest

VERSION = 1
SIZES = {"tiny": ({"train": 4, "validation": 2, "test": 2}, 4), "small": (NUM_VOICES, 1000)}
"""Voices of each split, and how many words of each sentiment."""


def prepare(root: str | Path | None = None, *, size: str = "small", seed: int = 0) -> Manifest:
    """Return the corpus, speaking it first if ``root`` (default: `sonolex.configs.cache_folder`) lacks it.

    Columns: ``text`` and ``word`` are the word, ``sentiment`` its sentiment (empty for a keyword), ``keyword`` whether
    it is one (yes, no).

    Raises:
        ValueError: unknown size.
        ImportError: espeakng-loader is missing (extra: demo).
    """
    if size not in SIZES:
        raise ValueError(f"`size` must be one of {', '.join(SIZES)}, but is {size!r}.")
    folder = (Path(root) if root else cache_folder()) / f"espeak-words-v{VERSION}-{size}-{seed}"
    if not (folder / "manifest.arrow").is_file():
        speak_in_fresh_process("sonolex.data.corpora.espeak_words", folder, size, str(seed))
    return read_manifest(folder)


def _speak_corpus(size: str, seed: int, folder: Path) -> None:
    from rich.progress import track

    from sonolex.data import espeak

    (folder / "audio").mkdir(parents=True, exist_ok=True)
    num_voices, num_words = SIZES[size]
    words = [(word, sentiment) for sentiment, sentiment_words in WORDS.items() for word in sentiment_words[:num_words]]
    words += [(word, None) for word in KEYWORDS[:num_words]]
    plan = [(split, voice) for split, n in num_voices.items() for voice in voices(split)[:n]]
    rows = []
    for number, (split, voice) in enumerate(track(plan, description=f"words {size}: speaking", transient=True)):
        rng = np.random.default_rng([seed, number, VERSION])
        for word, sentiment in words:
            wave_S = espeak.speak(
                word,
                voice=voice,
                words_per_minute=int(rng.integers(140, 215)),
                pitch=int(rng.integers(30, 70)),
                pitch_range=int(rng.integers(30, 70)),
            )
            wave_S = recorded(wave_S, espeak.sample_rate_hz(), rng)
            name = voice.replace("+", "_")
            clip_id = f"w{VERSION}_{name}_{word}"
            rows.append(
                written(folder, clip_id, wave_S)
                | {
                    "text": word,
                    "speaker": name,
                    "split": split,
                    "word": word,
                    "sentiment": sentiment,
                    "keyword": "no" if sentiment else "yes",
                }
            )
    manifest_from_rows(rows, root=folder).write(folder / "manifest.arrow")


if __name__ == "__main__":
    _speak_corpus(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
