"""Shared by the IEMOCAP protocols: five folds by session, speakers disjoint, empty transcripts removed.

CTAL names no validation part and lets the *test* session choose the epoch (its released code). Here one of the eight
remaining speakers selects: the female speaker of the next session.
"""

from __future__ import annotations

from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.classification import ClassificationConfig

CLASSES = ("neutral", "happy", "angry", "sad")
# CTAL tables 1 and 4: WA is our accuracy, UA our balanced_accuracy. The paper does not say whether excited is merged.
PUBLISHED = {
    "CTAL-BASE": {"accuracy": 0.7286, "balanced_accuracy": 0.7370},
    "CTAL-LARGE": {"accuracy": 0.7395, "balanced_accuracy": 0.7463},
    "CTAL-LARGE, no pre-training": {"accuracy": 0.7004, "balanced_accuracy": 0.7110},
    "MDRE": {"accuracy": 0.6702, "balanced_accuracy": 0.6764},
    "MHA": {"accuracy": 0.6780, "balanced_accuracy": 0.6880},
    "LSTM alignment": {"accuracy": 0.6900, "balanced_accuracy": 0.7014},
}


def protocol(name: str, *, merge_excited: bool) -> Protocol:
    """Return the protocol with 5,531 (excited counts as happy) or 4,490 utterances before empty texts are removed."""

    def split(manifest: Manifest) -> list[Fold]:
        if merge_excited:
            emotions = ["happy" if e == "excited" else e for e in manifest.column("emotion")]
            manifest = manifest.with_column("emotion", emotions)
        manifest = manifest.where(emotion=CLASSES)
        texts = manifest.column("text")
        manifest = manifest.take([i for i, t in enumerate(texts) if t and t.strip()])
        return [_fold(manifest, session) for session in range(1, 6)]

    return Protocol(
        name=name,
        corpus="iemocap",
        split=split,
        tasks=(ClassificationConfig("emotion", label="emotion", classes=CLASSES),),
        primary="accuracy",
        disjoint=("id", "speaker"),
        pooled=False,
        published=PUBLISHED,
        notes="CTAL's numbers select the epoch on the test session and do not say whether excited is merged.",
    )


def _fold(manifest: Manifest, session: int) -> Fold:
    selector = f"{session % 5 + 1}F"
    rest = manifest.where(session=[str(s) for s in range(1, 6) if s != session])
    return Fold(
        f"session{session}",
        train=rest.where(speaker=set(rest.column("speaker")) - {selector}),
        selection=rest.where(speaker=selector),
        report=manifest.where(session=str(session)),
    )
