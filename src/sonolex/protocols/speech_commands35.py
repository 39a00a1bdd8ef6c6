"""Thirty-five spoken words, the official lists: train, validation selects, test is reported. Speakers are disjoint.

Text is the answer, so it is not an input.
"""

from __future__ import annotations

from sonolex.data.corpora.speech_commands import WORDS
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.classification import ClassificationConfig


def split(manifest: Manifest) -> list[Fold]:
    return [Fold("official", *(manifest.where(split=name) for name in ("train", "validation", "test")))]


PROTOCOL = Protocol(
    name="speech_commands35",
    corpus="speech_commands",
    split=split,
    tasks=(ClassificationConfig("word", label="word", classes=WORDS),),
    primary="accuracy",
    disjoint=("id", "speaker"),
    modalities=("audio",),
    published={"AST (Gong et al. 2021)": {"accuracy": 0.9812}},
)
