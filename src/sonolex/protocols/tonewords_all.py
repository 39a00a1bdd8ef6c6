"""ToneWords tone, sentiment and sarcasm by unseen voices, one model with three heads."""

from __future__ import annotations

from sonolex.protocols._tonewords import SARCASM, SENTIMENT, TONE, split
from sonolex.protocols.base import Protocol

PROTOCOL = Protocol(
    name="tonewords_all",
    corpus="tonewords",
    split=split,
    tasks=(TONE, SENTIMENT, SARCASM),
    primary="balanced_accuracy",
    disjoint=("id", "speaker"),
    notes="Sarcasm needs both modalities; audio or text alone cannot do better than 0.5.",
)
