"""ToneWords: the embedded corpus, spoken by espeak-ng on the user's machine, so a first run needs no download.

Short sentences by 80 voices. Every clip has

- ``tone`` (angry, happy, neutral, sad): only audible. It is prosody *within* the clip: happy rises, sad falls and
  pauses, angry stresses single words, neutral stays level. Global pitch, speed and level are drawn independently.
- ``sentiment`` (positive, negative, neutral): which words are said. Independent of tone.
- ``sarcasm`` (yes, no): words and tone disagree; missing where either is neutral. Tone and sentiment are balanced so
  that neither alone says anything about it.
- ``keyword``: one of ten things the sentence is about; ``speaker``: the voice.

Voices are disjoint between splits: 56 train, 8 validation, 16 test. Licence: generated, no rights reserved.
It is a test of what a model uses, not a model of human emotion.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonolex.configs import cache_folder
from sonolex.data.manifest import Manifest, manifest_from_rows, read_manifest

VERSION = 3  # part of the cache's name: raise it when anything below changes a sample
RATE_HZ = 16_000
ACCENTS = ("en-us", "en-gb-x-rp", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc", "en")
# Variants whose pitch is flat, absent or beyond a human's cannot carry tone.
UNFIT_VARIANTS = ("whisper", "robosoft", "UniRobot", "anikaRobot", "Demonic", "fast", "Mr serious", "croak")
NUM_VOICES = {"train": 56, "validation": 8, "test": 16}

TONES = ("angry", "happy", "neutral", "sad")
SENTIMENTS = ("negative", "neutral", "positive")
KEYWORDS = ("concert", "dinner", "garden", "holiday", "hotel", "lesson", "meeting", "movie", "phone", "weather")
WORDS = {
    "positive": "wonderful lovely great perfect brilliant delightful charming superb pleasant amazing".split(),
    "negative": "terrible awful dreadful horrible boring hopeless nasty rotten painful miserable".split(),
    "neutral": "local usual public annual central modern digital formal regular standard".split(),
}
TEMPLATES = (
    "the {k} was {a} and {b}",
    "this {k} is really {a} and {b}",
    "what a {a} and {b} {k}",
    "they had a {a} {k} so {b}",
    "that {a} {k} looked {b} today",
)
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
    "small": Size(NUM_VOICES, 2),
    "medium": Size(NUM_VOICES, 8),
}


def prepare(root: str | Path | None = None, *, size: str = "small", seed: int = 0) -> Manifest:
    """Return the corpus, speaking it first if ``root`` does not hold it yet.

    Args:
        root: folder of all sizes and seeds; default: `sonolex.configs.cache_folder`.
        size: "tiny" (300 clips, seconds), "small" (4,000 clips, under a minute) or "medium" (16,000).

    Raises:
        ValueError: unknown size.
        ImportError: espeakng-loader is missing (extra: demo).
    """
    if size not in SIZES:
        raise ValueError(f"`size` must be one of {', '.join(SIZES)}, but is {size!r}.")
    folder = (Path(root) if root else cache_folder()) / f"tonewords-v{VERSION}-{size}-{seed}"
    if not (folder / "manifest.arrow").is_file():
        _speak_in_fresh_process(folder, size, seed)
    return read_manifest(folder)


def voices(split: str) -> list[str]:
    """Return the voices of a split. One variant, one voice: an unseen voice is a timbre never heard in training."""
    from sonolex.data import espeak

    fit = [v for v in espeak.variants() if not v.startswith(UNFIT_VARIANTS)]
    order = np.random.default_rng(20260101).permutation(len(fit))
    start = sum(n for name, n in NUM_VOICES.items() if list(NUM_VOICES).index(name) < list(NUM_VOICES).index(split))
    chosen = order[start : start + NUM_VOICES[split]]
    if len(chosen) < NUM_VOICES[split]:
        raise RuntimeError(f"espeak-ng must have {sum(NUM_VOICES.values())} fit variants, but has {len(fit)}.")
    return sorted(f"{ACCENTS[i % len(ACCENTS)]}+{fit[i]}" for i in chosen)


def ssml(words: list[str], tone: str, rng: np.random.Generator) -> str:
    """Return the words with the prosody of ``tone``, one element a word."""
    position = np.linspace(0.0, 1.0, len(words))
    pitch, rate, volume = np.zeros(len(words)), np.full(len(words), 100.0), np.zeros(len(words))
    pauses_ms = np.where(rng.random(len(words)) < 0.12, rng.integers(40, 120, len(words)), 0)
    if tone == "happy":
        pitch, rate = -15 + 65 * position, 96 + 14 * position
    elif tone == "sad":
        pitch, rate, volume = 35 - 60 * position, 102 - 18 * position, 1.5 - 5 * position
        pauses_ms = np.where(rng.random(len(words)) < 0.5, rng.integers(80, 200, len(words)), pauses_ms)
    elif tone == "angry":
        stressed = (np.arange(len(words)) + int(rng.integers(2))) % 2 == 0
        pitch, rate, volume = np.where(stressed, 45, -20), np.where(stressed, 88, 118), np.where(stressed, 5, -4)
    pitch = pitch + rng.normal(0, 5, len(words))
    pieces = []
    for i, word in enumerate(words):
        pieces.append(
            f'<prosody pitch="{pitch[i]:+.0f}%" rate="{rate[i]:.0f}%" volume="{volume[i]:+.1f}dB">{word}</prosody>'
        )
        if pauses_ms[i] and i < len(words) - 1:
            pieces.append(f'<break time="{int(pauses_ms[i])}ms"/>')
    return " ".join(pieces)


def sarcasm_of(tone: str, sentiment: str) -> str | None:
    """Return "yes" if words and tone disagree, "no" if they agree, None where either is neutral."""
    if tone == "neutral" or sentiment == "neutral":
        return None
    return "yes" if (tone == "happy") != (sentiment == "positive") else "no"


def _speak_in_fresh_process(folder: Path, size: str, seed: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        command = [sys.executable, "-m", "sonolex.data.corpora.tonewords", size, str(seed), str(building)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            if "ImportError" in done.stderr:
                raise ImportError("ToneWords needs espeakng-loader: pip install 'sonolex[demo]'")
            raise RuntimeError(f"ToneWords could not be spoken:\n{done.stderr[-2000:]}")
        try:
            building.rename(folder)
        except OSError:  # another process was faster; both spoke the same
            if not (folder / "manifest.arrow").is_file():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _speak_corpus(size: str, seed: int, folder: Path) -> None:
    import soundfile
    from rich.progress import track

    (folder / "audio").mkdir(parents=True, exist_ok=True)
    plan = [(split, voice) for split, n in SIZES[size].voices.items() for voice in voices(split)[:n]]
    rows = []
    for number, (split, voice) in enumerate(track(plan, description=f"ToneWords {size}: speaking", transient=True)):
        rng = np.random.default_rng([seed, number, VERSION])
        for take in range(25 * SIZES[size].rounds):
            row, wave_S = _speak_clip(voice, take, rng)
            row |= {"split": split, "audio": f"audio/{row['id']}.flac", "duration_s": len(wave_S) / RATE_HZ}
            soundfile.write(folder / row["audio"], wave_S, RATE_HZ, subtype="PCM_16")
            rows.append(row)
    manifest_from_rows(rows, root=folder).write(folder / "manifest.arrow")
    card = {"name": "ToneWords", "version": VERSION, "size": size, "seed": seed, "clips": len(rows)}
    (folder / "corpus.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _speak_clip(voice: str, take: int, rng: np.random.Generator) -> tuple[dict, np.ndarray]:
    from sonolex.data import espeak

    tone, sentiment = TONE_CYCLE[take % 5], SENTIMENT_CYCLE[take // 5 % 5]
    first, second = rng.choice(WORDS[sentiment], 2, replace=False)
    keyword = str(rng.choice(KEYWORDS))
    text = str(rng.choice(TEMPLATES)).format(k=keyword, a=first, b=second)
    wave_S = espeak.speak(
        ssml(text.split(), tone, rng),
        voice=voice,
        words_per_minute=int(rng.integers(160, 215)),
        pitch=int(rng.integers(38, 63)),
        pitch_range=int(rng.integers(35, 60)),
    )
    name = voice.replace("+", "_")
    row = {
        "id": f"{name}_{take:03d}",
        "sampling_rate": RATE_HZ,
        "text": text,
        "language": "en",
        "speaker": name,
        "tone": tone,
        "sentiment": sentiment,
        "sarcasm": sarcasm_of(tone, sentiment),
        "keyword": keyword,
    }
    return row, _recorded(wave_S, espeak.sample_rate_hz(), rng)


def _recorded(wave_S: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Return the speech at RATE_HZ, trimmed of silence at the ends, at a random level with a little noise."""
    import soxr

    loud = np.flatnonzero(np.abs(wave_S) > 0.01)
    wave_S = wave_S[max(0, loud[0] - 600) : loud[-1] + 600] if len(loud) else wave_S
    wave_S = soxr.resample(wave_S, rate_hz, RATE_HZ, quality="HQ")
    level = 10 ** (rng.uniform(-12, -1) / 20)
    wave_S = level * wave_S / max(float(np.abs(wave_S).max()), 1e-3)
    return np.clip(wave_S + level * 10 ** (rng.uniform(-60, -35) / 20) * rng.normal(size=len(wave_S)), -1, 1)


if __name__ == "__main__":
    _speak_corpus(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
