"""What the ToneWords protocols share: voices disjoint between train, validation and test, in one language or two."""

from __future__ import annotations

from collections.abc import Callable

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


def crossing(learned: str, asked: str) -> Callable[[Manifest], list[Fold]]:
    """Return the split that learns, and selects, in one language and is asked in another, by unseen voices."""

    def split_by_language(manifest: Manifest) -> list[Fold]:
        here, there = manifest.where(language=learned), manifest.where(language=asked)
        return [Fold("unseen", here.where(split="train"), here.where(split="validation"), there.where(split="test"))]

    return split_by_language
