"""ToneWords: the embedded corpus, spoken by espeak-ng on the user's machine, so a first run needs no download.

Short sentences by 80 voices. Every clip has

- ``tone`` (angry, happy, neutral, sad): only audible. It is prosody *within* the clip: happy rises, sad falls and
  pauses, angry stresses single words, neutral stays level. Global pitch, speed and level are drawn independently.
- ``sentiment`` (positive, negative, neutral): which of 120 words is said beside a neutral one. Independent of tone,
  easily read and hard to hear: opposites sound alike (careful, careless).
- ``sarcasm`` (yes, no): words and tone disagree; missing where either is neutral. Tone and sentiment are balanced so
  that neither alone says anything about it.
- ``keyword``: one of ten things the sentence is about; ``speaker``: the voice; ``language``: English, or German or
  Spanish with the same tones, words of their own, and the same names of keywords.

Voices are disjoint between splits: 56 train, 8 validation, 16 test. Licence: generated, no rights reserved.
It is a test of what a model uses, not a model of human emotion.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonolex.configs import cache_folder
from sonolex.data.corpora._spoken import RATE_HZ, fit_variants, recorded, speak_in_fresh_process
from sonolex.data.corpora._tonewords_lexicons import LEXICONS, Lexicon
from sonolex.data.manifest import Manifest, concatenate, manifest_from_rows, read_manifest

VERSION = 7  # part of the cache's name: raise it when anything below changes a sample
NUM_VOICES = {"train": 56, "validation": 8, "test": 16}

TONES = ("angry", "happy", "neutral", "sad")
SENTIMENTS = ("negative", "neutral", "positive")
ENGLISH = LEXICONS["en"]
KEYWORDS, WORDS, TEMPLATES = tuple(ENGLISH.keywords), ENGLISH.words, ENGLISH.templates
# Happy twice, angry and sad once: half of the non-neutral tones are positive, so sarcasm is balanced within every
# tone and every sentiment.
TONE_CYCLE = ("happy", "happy", "angry", "sad", "neutral")
SENTIMENT_CYCLE = ("positive", "positive", "negative", "negative", "neutral")


@dataclass(frozen=True)
class Size:
    """How much to speak: every voice of a split says the 25 combinations of tone and sentiment ``rounds`` times."""

    voices: dict[str, int]
    rounds: int


SIZES = {
    "tiny": Size({"train": 8, "validation": 2, "test": 2}, 1),
    "small": Size(NUM_VOICES, 4),
    "medium": Size(NUM_VOICES, 16),
}


def prepare(
    root: str | Path | None = None, *, size: str = "small", seed: int = 0, languages: tuple[str, ...] = ("en",)
) -> Manifest:
    """Return the corpus, speaking it first if ``root`` does not hold it yet.

    Args:
        root: folder of all sizes, seeds and languages; default: `sonolex.configs.cache_folder`.
        size: "tiny" (300 clips, seconds), "small" (8,000 clips, half a minute) or "medium" (32,000), of each language.
        languages: "en", "de" or "es".

    Raises:
        ValueError: unknown size or language.
        ImportError: espeakng-loader is missing (extra: demo).
    """
    if size not in SIZES:
        raise ValueError(f"`size` must be one of {', '.join(SIZES)}, but is {size!r}.")
    unknown = [x for x in languages if x not in LEXICONS]
    if unknown or not languages:
        raise ValueError(f"`languages` must be of {', '.join(LEXICONS)}, but is {', '.join(unknown) or 'empty'}.")
    spoken = []
    for language in languages:
        mark = "" if language == "en" else f"-{language}"
        folder = (Path(root) if root else cache_folder()) / f"tonewords-v{VERSION}-{size}-{seed}{mark}"
        if not (folder / "manifest.arrow").is_file():
            speak_in_fresh_process("sonolex.data.corpora.tonewords", folder, size, str(seed), language)
        spoken.append(read_manifest(folder))
    return concatenate(spoken) if len(spoken) > 1 else spoken[0]


def voices(split: str, language: str = "en") -> list[str]:
    """Return the voices of a split. One variant, one voice: an unseen voice is a timbre never heard in training.

    A variant is in the same split in every language.
    """
    fit, splits, accents = fit_variants(), list(NUM_VOICES), LEXICONS[language].accents
    start = sum(NUM_VOICES[s] for s in splits[: splits.index(split)])
    chosen = fit[start : start + NUM_VOICES[split]]
    if len(chosen) < NUM_VOICES[split]:
        raise RuntimeError(f"espeak-ng must have {sum(NUM_VOICES.values())} fit variants, but has {len(fit)}.")
    return sorted(f"{accents[(start + i) % len(accents)]}+{variant}" for i, variant in enumerate(chosen))


def ssml(words: list[str], tone: str, rng: np.random.Generator) -> str:
    """Return the words with the prosody of ``tone``, one element a word."""
    position = np.linspace(0.0, 1.0, len(words))
    pitch, rate, volume = np.zeros(len(words)), np.full(len(words), 100.0), np.zeros(len(words))
    pauses_ms = np.where(rng.random(len(words)) < 0.12, rng.integers(40, 120, len(words)), 0)
    range_percent = 100
    if tone == "happy":
        pitch, rate = -25 + 100 * position, 94 + 18 * position
    elif tone == "sad":
        pitch, rate, volume = 35 - 60 * position, 102 - 18 * position, 1.5 - 5 * position
        pauses_ms = np.where(rng.random(len(words)) < 0.5, rng.integers(80, 200, len(words)), pauses_ms)
    elif tone == "angry":
        stressed = (np.arange(len(words)) + int(rng.integers(2))) % 2 == 0
        pitch, rate, volume = (
            np.where(stressed, 60, -30),
            np.where(stressed, 85, 125),
            np.where(stressed, 5, -7),
        )
    else:
        range_percent = 15
    pitch = pitch + rng.normal(0, 4, len(words))
    pieces = []
    for i, word in enumerate(words):
        pieces.append(
            f'<prosody pitch="{pitch[i]:+.0f}%" range="{range_percent}%" rate="{rate[i]:.0f}%" '
            f'volume="{volume[i]:+.1f}dB">{word}</prosody>'
        )
        if pauses_ms[i] and i < len(words) - 1:
            pieces.append(f'<break time="{int(pauses_ms[i])}ms"/>')
    return " ".join(pieces)


def sarcasm_of(tone: str, sentiment: str) -> str | None:
    """Return "yes" if words and tone disagree, "no" if they agree, None where either is neutral."""
    if tone == "neutral" or sentiment == "neutral":
        return None
    return "yes" if (tone == "happy") != (sentiment == "positive") else "no"


def _speak_corpus(size: str, seed: int, language: str, folder: Path) -> None:
    import soundfile
    from rich.progress import track

    (folder / "audio").mkdir(parents=True, exist_ok=True)
    plan = [(split, voice) for split, n in SIZES[size].voices.items() for voice in voices(split, language)[:n]]
    rows = []
    label = f"ToneWords {size} ({language}): speaking"
    for number, (split, voice) in enumerate(track(plan, description=label, transient=True)):
        rng = np.random.default_rng([seed, number, VERSION])
        for take in range(25 * SIZES[size].rounds):
            row, wave_S = _speak_clip(LEXICONS[language], voice, take, rng)
            row |= {"split": split, "audio": f"audio/{row['id']}.flac", "duration_s": len(wave_S) / RATE_HZ}
            row["language"] = language
            soundfile.write(folder / row["audio"], wave_S, RATE_HZ, subtype="PCM_16")
            rows.append(row)
    manifest_from_rows(rows, root=folder).write(folder / "manifest.arrow")
    card = {"name": "ToneWords", "version": VERSION, "size": size, "seed": seed, "language": language}
    card["clips"] = len(rows)
    (folder / "corpus.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def sentence(lexicon: Lexicon, sentiment: str, rng: np.random.Generator) -> tuple[str, str]:
    """Return a sentence of a sentiment, and its keyword's name."""
    words = lexicon.words
    sentiment_word = str(rng.choice(words[sentiment]))
    neutral_word = str(rng.choice([word for word in words["neutral"] if word != sentiment_word]))
    first, second = rng.permutation([sentiment_word, neutral_word])
    keyword = str(rng.choice(list(lexicon.keywords)))
    return str(rng.choice(lexicon.templates)).format(k=lexicon.keywords[keyword], a=first, b=second), keyword


def _speak_clip(lexicon: Lexicon, voice: str, take: int, rng: np.random.Generator) -> tuple[dict, np.ndarray]:
    from sonolex.data import espeak

    tone, sentiment = TONE_CYCLE[take % 5], SENTIMENT_CYCLE[take // 5 % 5]
    text, keyword = sentence(lexicon, sentiment, rng)
    wave_S = espeak.speak(
        ssml(text.split(), tone, rng),
        voice=voice,
        words_per_minute=int(rng.integers(160, 215)),
        pitch=int(rng.integers(38, 63)),
        pitch_range=int(rng.integers(35, 60)),
    )
    name = voice.replace("+", "_")
    row = {
        "id": f"v{VERSION}_{name}_{take:03d}",  # so that a fingerprint covers the version
        "sampling_rate": RATE_HZ,
        "text": text,
        "speaker": name,
        "tone": tone,
        "sentiment": sentiment,
        "sarcasm": sarcasm_of(tone, sentiment),
        "keyword": keyword,
    }
    return row, recorded(wave_S, espeak.sample_rate_hz(), rng)


if __name__ == "__main__":
    _speak_corpus(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
