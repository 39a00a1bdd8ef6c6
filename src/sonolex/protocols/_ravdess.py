"""Six folds of four actors each; the four of the next fold select. The two sentences carry no emotion: no text."""

from __future__ import annotations

from collections.abc import Sequence

from sonolex.data.corpora.ravdess import NUM_ACTORS
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.classification import ClassificationConfig

NUM_FOLDS = 6
PER_FOLD = NUM_ACTORS // NUM_FOLDS
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "top2", "mean_roc_area")
# Thesis tables 5.3: top-1 and top-2 on an unstated split, epochs chosen by hand.
PUBLISHED = {
    "SpectroBERT, no pre-training": {"accuracy": 0.423, "top2": 0.673},
    "SpectroBERT, ser-frz-nolast": {"accuracy": 0.299, "top2": 0.504},
    "SpectroBERT, ser-frz-nolast-noaudio": {"accuracy": 0.632, "top2": 0.821},
}


def protocol(name: str, emotions: Sequence[str]) -> Protocol:
    """Return the protocol over these emotions."""

    def split(manifest: Manifest) -> list[Fold]:
        manifest = manifest.where(emotion=list(emotions))
        return [_fold(manifest, number) for number in range(NUM_FOLDS)]

    return Protocol(
        name=name,
        corpus="ravdess",
        split=split,
        tasks=(ClassificationConfig("emotion", label="emotion", classes=tuple(emotions), metric_names=METRICS),),
        primary="accuracy",
        disjoint=("id", "speaker"),
        modalities=("audio",),
        published=PUBLISHED,
        notes="The thesis does not state its split; a random split shares actors, which is worth tens of points.",
    )


def _fold(manifest: Manifest, number: int) -> Fold:
    def actors(fold: int) -> list[str]:
        first = fold % NUM_FOLDS * PER_FOLD + 1
        return [f"{a:02d}" for a in range(first, first + PER_FOLD)]

    report, selection = actors(number), actors(number + 1)
    known = [f"{a:02d}" for a in range(1, NUM_ACTORS + 1) if f"{a:02d}" not in (*report, *selection)]
    return Fold(
        str(number + 1),
        manifest.where(speaker=known),
        manifest.where(speaker=selection),
        manifest.where(speaker=report),
    )
