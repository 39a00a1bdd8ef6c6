"""What miniatures of corpora are made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import soundfile


def wav(path, seconds=0.1, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, int(seconds * rate)), rate)


def text(path, lines, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)


def digests(manifest) -> list[str]:
    return [hashlib.sha256(Path(str(c.audio)).read_bytes()).hexdigest() for c in manifest]
