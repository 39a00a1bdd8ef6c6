"""Spoken digits by one of the three *training* speakers of `fsdd_digits_unseen_speakers`, the other two known.

Recipes for that protocol are chosen here, so that its report speakers decide nothing.
"""

from __future__ import annotations

from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.protocols.fsdd_digits_unseen_speakers import PROTOCOL as REPORTED
from sonolex.protocols.fsdd_digits_unseen_speakers import TRAIN_SPEAKERS


def split(manifest: Manifest) -> list[Fold]:
    """Return one fold per training speaker, who is held out."""
    folds = []
    for speaker in TRAIN_SPEAKERS:
        known = manifest.where(speaker=[s for s in TRAIN_SPEAKERS if s != speaker])
        held_out = manifest.where(speaker=speaker)
        folds.append(
            Fold(speaker, train=known.where(split="train"), selection=known.where(split="test"), report=held_out)
        )
    return folds


PROTOCOL = Protocol(
    name="fsdd_digits_development",
    corpus="fsdd",
    split=split,
    tasks=REPORTED.tasks,
    primary="accuracy",
    disjoint=("id", "speaker"),
    modalities=("audio",),
    notes="For choosing recipes only.",
)
