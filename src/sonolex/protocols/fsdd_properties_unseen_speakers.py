"""Is the spoken digit even? Is it above four? By unseen speakers: what a word means, not only which one it is.

The split is that of `fsdd_digits_unseen_speakers`. The text is the digit, so a model may learn from it and be
tested on audio (zero-shot across modalities); each result names the modalities that it was scored with.
"""

from __future__ import annotations

from sonolex.protocols.base import Protocol
from sonolex.protocols.fsdd_digits_unseen_speakers import split
from sonolex.tasks.classification import ClassificationConfig

PROTOCOL = Protocol(
    name="fsdd_properties_unseen_speakers",
    corpus="fsdd",
    split=split,
    tasks=tuple(ClassificationConfig(name, label=name, classes=("no", "yes")) for name in ("even", "above_four")),
    primary="macro_f1",
    disjoint=("id", "speaker"),
    notes="Balanced: the majority has an accuracy of 50 % and a macro-F1 of 33 %. The floors read the audio.",
)
