"""Four emotions of EMO-DB, leave one speaker out: ten folds, predictions pooled.

Selection: the next speaker in ascending order, who is not trained on either. The speakers share the ten sentences, so
text is not an input.
"""

from __future__ import annotations

from sonolex.data.corpora.emodb import SPEAKERS
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.classification import ClassificationConfig

EMOTIONS = ("angry", "happy", "neutral", "sad")


def split(manifest: Manifest) -> list[Fold]:
    manifest = manifest.where(emotion=EMOTIONS)
    folds = []
    for i, speaker in enumerate(SPEAKERS):
        selector = SPEAKERS[(i + 1) % len(SPEAKERS)]
        folds.append(
            Fold(
                speaker,
                train=manifest.where(speaker=[s for s in SPEAKERS if s not in (speaker, selector)]),
                selection=manifest.where(speaker=selector),
                report=manifest.where(speaker=speaker),
            )
        )
    return folds


PROTOCOL = Protocol(
    name="emodb4_unseen_speakers",
    corpus="emodb",
    corpus_options={"emotions": EMOTIONS},
    split=split,
    tasks=(ClassificationConfig("emotion", label="emotion", classes=EMOTIONS),),
    primary="accuracy",
    disjoint=("id", "speaker"),
    modalities=("audio",),
)
