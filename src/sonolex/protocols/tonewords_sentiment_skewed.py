"""ToneWords sentiment by unseen voices, as skewed as SLUE-VoxCeleb's: 22 % positive, 4 % negative, 74 % neutral.

About as many training clips as SLUE has, to compare remedies for imbalance where nothing else is wrong.
"""

from __future__ import annotations

from sonolex.protocols._tonewords import SENTIMENT, skewed
from sonolex.protocols.base import Protocol

PROTOCOL = Protocol(
    name="tonewords_sentiment_skewed",
    corpus="tonewords",
    corpus_options={"size": "medium"},
    split=skewed,
    tasks=(SENTIMENT,),
    primary="macro_f1",
    disjoint=("id", "speaker"),
)
