"""Spoken digits by unseen speakers: train on george, jackson, lucas; report on nicolas, theo, yweweler.

Selection: the official test takes (index 0–4) of the *training* speakers. Text is the answer, so it is not an input.
"""

from __future__ import annotations

from sonolex.data.corpora.fsdd import DIGITS, SPEAKERS
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.classification import ClassificationConfig

TRAIN_SPEAKERS, REPORT_SPEAKERS = SPEAKERS[:3], SPEAKERS[3:]


def split(manifest: Manifest) -> list[Fold]:
    known = manifest.where(speaker=TRAIN_SPEAKERS)
    return [
        Fold(
            "unseen",
            train=known.where(split="train"),
            selection=known.where(split="test"),
            report=manifest.where(speaker=REPORT_SPEAKERS),
        )
    ]


PROTOCOL = Protocol(
    name="fsdd_digits_unseen_speakers",
    corpus="fsdd",
    split=split,
    tasks=(ClassificationConfig("digit", label="digit", classes=DIGITS),),
    primary="accuracy",
    disjoint=("id", "speaker"),
    modalities=("audio",),
    notes="Six male speakers: results by speaker differ by ten points and more.",
)
