"""Find a spoken word among 130 words, by unseen voices; and a word's recordings among all of theirs."""

from __future__ import annotations

from sonolex.protocols._tonewords import split
from sonolex.protocols.base import Protocol
from sonolex.tasks.retrieval import RetrievalConfig

PROTOCOL = Protocol(
    name="espeak_words_unseen_voices",
    corpus="espeak_words",
    split=split,
    tasks=(RetrievalConfig("words", label="word"),),
    primary="audio_to_text_recall_at_1",
    disjoint=("id", "speaker"),
)
