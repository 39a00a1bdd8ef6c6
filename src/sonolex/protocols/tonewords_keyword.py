"""ToneWords, what a sentence is about: ten keywords, by unseen voices. The text and the audio both contain it."""

from __future__ import annotations

from sonolex.data.corpora.tonewords import KEYWORDS
from sonolex.protocols._tonewords import split
from sonolex.protocols.base import Protocol
from sonolex.tasks.classification import ClassificationConfig

PROTOCOL = Protocol(
    name="tonewords_keyword",
    corpus="tonewords",
    split=split,
    tasks=(ClassificationConfig("keyword", label="keyword", classes=KEYWORDS),),
    primary="macro_f1",
    disjoint=("id", "speaker"),
)
