"""Find a keyword of ToneWords, spoken alone by unseen voices, among the ten."""

from __future__ import annotations

from sonolex.data.manifest import Manifest
from sonolex.protocols import _tonewords
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.retrieval import RetrievalConfig


def split(manifest: Manifest) -> list[Fold]:
    """Return the one fold of unseen voices; words with a sentiment are left out."""
    return _tonewords.split(manifest.where(keyword="yes"))


PROTOCOL = Protocol(
    name="espeak_keywords_unseen_voices",
    corpus="espeak_words",
    split=split,
    tasks=(RetrievalConfig("words", label="word"),),
    primary="audio_to_text_recall_at_1",
    disjoint=("id", "speaker"),
    notes="Chance is a tenth from audio to text.",
)
