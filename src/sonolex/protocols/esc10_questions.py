"""Questions about ESC-10's sounds on its five official folds: "is there …?" and "what is heard?".

The form of Clotho-AQA on available material: balanced yes and no, ten open answers, several phrasings, and a question
alone tells nothing. Selection: a tenth of the training folds, recordings kept together.
"""

from __future__ import annotations

from sonolex.data.corpora.esc10 import SOUNDS
from sonolex.protocols._esc import five_folds
from sonolex.protocols.base import Protocol
from sonolex.tasks.classification import ClassificationConfig

PROTOCOL = Protocol(
    name="esc10_questions",
    corpus="esc10_questions",
    split=five_folds,
    tasks=(
        ClassificationConfig("present", label="present", classes=("no", "yes"), single_logit=True),
        ClassificationConfig("heard", label="heard", classes=SOUNDS, metric_names=("accuracy", "top5", "macro_f1")),
    ),
    primary="accuracy",
    disjoint=("id", "source_id"),
    modalities=("audio", "text"),
    notes="The floors read the sound alone, so they are at chance on `present`.",
)
