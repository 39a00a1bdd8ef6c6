"""Find a spoken digit's word among the ten, by unseen speakers; and a word's recordings among all of theirs.

The split is that of `fsdd_digits_unseen_speakers`.
"""

from __future__ import annotations

from sonolex.protocols.base import Protocol
from sonolex.protocols.fsdd_digits_unseen_speakers import split
from sonolex.tasks.retrieval import RetrievalConfig

PROTOCOL = Protocol(
    name="fsdd_words_unseen_speakers",
    corpus="fsdd",
    split=split,
    tasks=(RetrievalConfig("words", label="digit"),),
    primary="audio_to_text_recall_at_1",
    disjoint=("id", "speaker"),
    notes="Chance is a tenth from audio to text.",
)
