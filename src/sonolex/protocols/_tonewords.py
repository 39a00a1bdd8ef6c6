"""Shared by the ToneWords protocols: voices disjoint between train, validation and test, in one language or two."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from sonolex.data.corpora.tonewords import SENTIMENTS, TONES
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold
from sonolex.tasks.classification import ClassificationConfig

TONE = ClassificationConfig("tone", label="tone", classes=TONES)
SENTIMENT = ClassificationConfig("sentiment", label="sentiment", classes=SENTIMENTS)
SARCASM = ClassificationConfig("sarcasm", label="sarcasm", classes=("no", "yes"))

SKEWED_SHARES = {"positive": 0.22, "negative": 0.04, "neutral": 0.74}


def split(manifest: Manifest) -> list[Fold]:
    """Return the one fold of unseen voices."""
    parts = (manifest.where(split=name) for name in ("train", "validation", "test"))
    return [Fold("unseen", *parts)]


def crossing(train_language: str, report_language: str) -> Callable[[Manifest], list[Fold]]:
    """Return the split that trains and selects in one language and reports on unseen voices in another."""

    def split_by_language(manifest: Manifest) -> list[Fold]:
        here, there = manifest.where(language=train_language), manifest.where(language=report_language)
        return [Fold("unseen", here.where(split="train"), here.where(split="validation"), there.where(split="test"))]

    return split_by_language


def skewed(manifest: Manifest) -> list[Fold]:
    """Return the fold of unseen voices with SLUE-VoxCeleb's shares of sentiments in every part (docs/reference.md).

    All neutral clips are kept; of the others as many as the shares ask for, chosen by a digest of their ids.
    """
    (fold,) = split(manifest)
    return [Fold(fold.name, *(_skewed_part(part) for part in (fold.train, fold.selection, fold.report)))]


def _skewed_part(part: Manifest) -> Manifest:
    sentiments = np.array(part.column("sentiment"))
    order = np.argsort([hashlib.sha256(i.encode()).hexdigest() for i in part.column("id")])
    num_neutral = int((sentiments == "neutral").sum())
    rows = []
    for sentiment, share in SKEWED_SHARES.items():
        count = round(num_neutral * share / SKEWED_SHARES["neutral"])
        rows += [row for row in order.tolist() if sentiments[row] == sentiment][:count]
    return part.take(sorted(rows))
