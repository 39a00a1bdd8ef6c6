"""ToneWords tone by unseen voices."""

from __future__ import annotations

from sonolex.protocols._tonewords import TONE, split
from sonolex.protocols.base import Protocol

PROTOCOL = Protocol(
    name="tonewords_tone",
    corpus="tonewords",
    split=split,
    tasks=(TONE,),
    primary="balanced_accuracy",
    disjoint=("id", "speaker"),
)
