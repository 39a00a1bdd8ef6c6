"""ToneWords sentiment by unseen voices."""

from __future__ import annotations

from sonolex.protocols._tonewords import SENTIMENT, split
from sonolex.protocols.base import Protocol

PROTOCOL = Protocol(
    name="tonewords_sentiment",
    corpus="tonewords",
    split=split,
    tasks=(SENTIMENT,),
    primary="balanced_accuracy",
    disjoint=("id", "speaker"),
)
