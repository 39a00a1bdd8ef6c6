"""What the ToneWords protocols share: voices disjoint between train, validation and test."""

from __future__ import annotations

from sonolex.data.corpora.tonewords import SENTIMENTS, TONES
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold
from sonolex.tasks.classification import ClassificationConfig

TONE = ClassificationConfig("tone", label="tone", classes=TONES)
SENTIMENT = ClassificationConfig("sentiment", label="sentiment", classes=SENTIMENTS)
SARCASM = ClassificationConfig("sarcasm", label="sarcasm", classes=("no", "yes"))


def split(manifest: Manifest) -> list[Fold]:
    """Return the one fold of unseen voices."""
    parts = (manifest.where(split=name) for name in ("train", "validation", "test"))
    return [Fold("unseen", *parts)]
