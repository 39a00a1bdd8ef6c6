"""The ten English digits by espeak-ng voices, in English and in foreign accents: extra training material for FSDD.

A foreign accent is an English digit respelt for a foreign voice. 72 variants, each with two English and three foreign
accents, 3,600 clips in all, a few seconds to speak. Licence: generated, no rights reserved.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sonolex.configs import cache_folder
from sonolex.data.corpora._spoken import ACCENTS, fit_variants, recorded, speak_in_fresh_process, written
from sonolex.data.corpora.fsdd import DIGITS
from sonolex.data.manifest import Manifest, manifest_from_rows, read_manifest

VERSION = 2
NUM_VARIANTS = 72
RESPELT = {
    "fr": ["zirau", "ouane", "tou", "sri", "fore", "faïve", "six", "sévène", "ète", "naïne"],
    "de": ["siero", "wann", "tuh", "sri", "fohr", "feif", "sicks", "sewen", "eyt", "nein"],
    "el": ["ζίροου", "ουάν", "του", "θρι", "φορ", "φάιβ", "σιξ", "σέβεν", "έιτ", "νάιν"],
    "es": ["sirou", "uan", "tu", "zri", "for", "faiv", "siks", "seven", "eit", "nain"],
    "it": ["ziro", "uan", "tu", "tri", "for", "faiv", "siks", "seven", "eit", "nain"],
    "ru": ["зироу", "уан", "ту", "сри", "фор", "файв", "сикс", "севен", "эйт", "найн"],
}


def prepare(root: str | Path | None = None, *, seed: int = 0) -> Manifest:
    """Return the corpus, speaking it first if ``root`` (default: `sonolex.configs.cache_folder`) lacks it."""
    folder = (Path(root) if root else cache_folder()) / f"espeak-digits-v{VERSION}-{seed}"
    if not (folder / "manifest.arrow").is_file():
        speak_in_fresh_process("sonolex.data.corpora.espeak_digits", folder, str(seed))
    return read_manifest(folder)


def speakers() -> tuple[str, ...]:
    """Return the corpus's speakers without speaking it."""
    return tuple(f"espeak_{variant}" for variant in fit_variants()[:NUM_VARIANTS])


def _speak_corpus(seed: int, folder: Path) -> None:
    from sonolex.data import espeak

    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, variant in enumerate(fit_variants()[:NUM_VARIANTS]):
        rng = np.random.default_rng([seed, number, VERSION])
        foreign = rng.choice(list(RESPELT), 3, replace=False)
        accents = [ACCENTS[(number + k) % len(ACCENTS)] for k in (0, 3)] + [str(f) for f in foreign]
        for accent in accents:
            for digit, word in enumerate(RESPELT.get(accent, list(DIGITS))):
                wave_S = espeak.speak(
                    word,
                    voice=f"{accent}+{variant}",
                    words_per_minute=int(rng.integers(110, 220)),
                    pitch=int(rng.integers(20, 75)),
                    pitch_range=int(rng.integers(20, 80)),
                )
                clip_id = f"espeak_{accent}_{variant}_{digit}"
                wave_S = recorded(wave_S, espeak.sample_rate_hz(), rng)
                rows.append(
                    written(folder, clip_id, wave_S)
                    | {
                        "text": DIGITS[digit],
                        "speaker": f"espeak_{variant}",
                        "split": "train",
                        "digit": DIGITS[digit],
                    }
                )
    manifest_from_rows(rows, root=folder).write(folder / "manifest.arrow")


if __name__ == "__main__":
    _speak_corpus(int(sys.argv[1]), Path(sys.argv[2]))
