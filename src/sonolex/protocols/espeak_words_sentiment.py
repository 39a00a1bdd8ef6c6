"""The sentiment of one spoken word, by unseen voices: positive, negative or neutral; opposites sound alike.

The text is the word, so a model may learn from it and be tested on audio (zero-shot across modalities).
"""

from __future__ import annotations

from sonolex.data.manifest import Manifest
from sonolex.protocols import _tonewords
from sonolex.protocols.base import Fold, Protocol


def split(manifest: Manifest) -> list[Fold]:
    """Return the one fold of unseen voices; keywords have no sentiment and are left out."""
    return _tonewords.split(manifest.where(keyword="no"))


PROTOCOL = Protocol(
    name="espeak_words_sentiment",
    corpus="espeak_words",
    split=split,
    tasks=(_tonewords.SENTIMENT,),
    primary="accuracy",
    disjoint=("id", "speaker"),
    notes="The floors read the audio.",
)
