"""The interface of a recogniser."""

from __future__ import annotations

from typing import Protocol

import numpy as np

RATE_HZ = 16_000


class Recogniser(Protocol):
    """Samples in, words out. ``name`` is that of the recogniser and its model, and is written to the manifest."""

    name: str

    def transcribe(self, wave_S: np.ndarray) -> str:
        """Return the words in mono float32 samples (S,) at RATE_HZ; an empty text if it recognises none."""
        ...
