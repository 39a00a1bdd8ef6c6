"""Questions about generated sound scenes: is there a …, what comes last, how many.

Scenes are disjoint between the parts and a question alone tells nothing, so all three answers need the audio; what
comes last needs the order of the sounds.
"""

from __future__ import annotations

from sonolex.data.corpora.sound_scenes import COUNTS, EVENTS
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.classification import ClassificationConfig


def split(manifest: Manifest) -> list[Fold]:
    """Return the one fold of unseen scenes."""
    parts = (manifest.where(split=name) for name in ("train", "validation", "test"))
    return [Fold("unseen", *parts)]


PROTOCOL = Protocol(
    name="sound_scenes_questions",
    corpus="sound_scenes",
    split=split,
    tasks=(
        ClassificationConfig("present", label="present", classes=("no", "yes"), single_logit=True),
        ClassificationConfig("last", label="last", classes=EVENTS, metric_names=("accuracy", "macro_f1")),
        ClassificationConfig("count", label="count", classes=COUNTS, single_logit=True),
    ),
    primary="accuracy",
    disjoint=("id", "source_id"),
    modalities=("audio", "text"),
    notes="The floors read the sound alone, so they are at chance on `present`.",
)
