"""What a recogniser is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

RATE_HZ = 16_000


class Recogniser(Protocol):
    """Samples in, words out. ``name`` says which recogniser and model it was; it stands in the manifest."""

    name: str

    def transcribe(self, wave_S: np.ndarray) -> str:
        """Return the words in mono float32 samples (S,) at RATE_HZ; an empty text where it hears none."""
        ...
