"""ToneWords' tone, learned in German and tested in English, by unseen voices."""

from __future__ import annotations

from sonolex.protocols._tonewords import TONE, crossing
from sonolex.protocols.base import Protocol

PROTOCOL = Protocol(
    name="tonewords_tone_de_en",
    corpus="tonewords",
    corpus_options={"languages": ("de", "en")},
    split=crossing("de", "en"),
    tasks=(TONE,),
    primary="macro_f1",
    disjoint=("id", "speaker"),
    modalities=("audio",),
)
