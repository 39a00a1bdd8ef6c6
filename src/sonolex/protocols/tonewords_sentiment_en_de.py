"""ToneWords' sentiment, learned in English and tested in German, by unseen voices."""

from __future__ import annotations

from sonolex.protocols._tonewords import SENTIMENT, crossing
from sonolex.protocols.base import Protocol

PROTOCOL = Protocol(
    name="tonewords_sentiment_en_de",
    corpus="tonewords",
    corpus_options={"languages": ("de", "en")},
    split=crossing("en", "de"),
    tasks=(SENTIMENT,),
    primary="macro_f1",
    disjoint=("id", "speaker"),
)
