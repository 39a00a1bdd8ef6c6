"""ToneWords sarcasm by unseen voices."""

from __future__ import annotations

from sonolex.protocols._tonewords import SARCASM, split
from sonolex.protocols.base import Protocol

PROTOCOL = Protocol(
    name="tonewords_sarcasm",
    corpus="tonewords",
    split=split,
    tasks=(SARCASM,),
    primary="balanced_accuracy",
    disjoint=("id", "speaker"),
)
