"""Shared by generated corpora: speak in a fresh process, keep the result, trim and level a clip.

espeak-ng's output depends on everything it spoke before in the process, so a corpus is deterministic only when a fresh
process speaks all of it in one fixed order.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sonolex.files import atomic_folder, recover
from sonolex.locks import holding

RATE_HZ = 16_000
ACCENTS = (
    "en-us",
    "en-gb-x-rp",
    "en-029",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-us-nyc",
    "en",
)
# Variants whose pitch is flat, absent or beyond a human's cannot carry tone.
UNFIT_VARIANTS = ("whisper", "robosoft", "UniRobot", "anikaRobot", "Demonic", "fast", "Mr serious", "croak")
# Variants with breath noise: espeak draws it from a generator seeded by the clock (six fresh processes, six results).
RANDOM_VARIANTS = ("Alicia", "sandro", "f2", "f3", "f5", "victor")


def fit_variants() -> list[str]:
    """Return espeak's variants that sound like a person and the same every time, in a fixed shuffled order."""
    from sonolex.data import espeak

    fit = [v for v in espeak.variants() if not v.startswith(UNFIT_VARIANTS) and v not in RANDOM_VARIANTS]
    return [fit[i] for i in np.random.default_rng(20260101).permutation(len(fit))]


def speak_in_fresh_process(module: str, folder: Path, *arguments: str) -> None:
    """Run ``python -m module *arguments building-folder`` and give the folder its name if it succeeds."""
    with made_here(folder) as building:
        if building is None:
            return
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments, str(building)], stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            if "ImportError" in done.stderr:
                raise ImportError("this corpus is spoken by espeak-ng: pip install 'sonolex[demo]'")
            if os.strerror(errno.ENOSPC) in done.stderr:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise RuntimeError(f"{module} could not speak its corpus:\n{done.stderr[-2000:]}")


@contextmanager
def made_here(folder: Path) -> Iterator[Path | None]:
    """Context: a folder to fill that becomes the corpus ``folder``; None if another process made it meanwhile.

    Its files are not forced onto the disk one by one: that takes longer than making them again.
    """
    with holding(folder.parent, folder.name):
        if (folder / "manifest.arrow").is_file():
            yield None
            return
        recover(folder.parent, name=folder.name)
        with atomic_folder(folder, synced=False) as building:
            yield building


def recorded(wave_S: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Return speech at RATE_HZ, trimmed of silence at the ends, at a random level with a little noise."""
    import soxr

    loud = np.flatnonzero(np.abs(wave_S) > 0.01)
    wave_S = wave_S[max(0, loud[0] - 600) : loud[-1] + 600] if len(loud) else wave_S
    wave_S = soxr.resample(wave_S, rate_hz, RATE_HZ, quality="HQ")
    level = 10 ** (rng.uniform(-12, -1) / 20)
    wave_S = level * wave_S / max(float(np.abs(wave_S).max()), 1e-3)
    return np.clip(wave_S + level * 10 ** (rng.uniform(-60, -35) / 20) * rng.normal(size=len(wave_S)), -1, 1)


def written(folder: Path, clip_id: str, wave_S: np.ndarray) -> dict[str, Any]:
    """Write a clip at RATE_HZ into ``folder/audio`` and return the manifest's columns about it."""
    import soundfile

    soundfile.write(folder / "audio" / f"{clip_id}.flac", wave_S, RATE_HZ, subtype="PCM_16")
    place = {"id": clip_id, "audio": f"audio/{clip_id}.flac"}
    return place | {"duration_s": len(wave_S) / RATE_HZ, "sampling_rate": RATE_HZ, "language": "en"}
