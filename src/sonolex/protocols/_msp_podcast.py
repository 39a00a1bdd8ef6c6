"""Shared by the MSP-Podcast protocols: the release's own parts, test1 reported."""

from __future__ import annotations

from sonolex.data.corpora.msp_podcast import EMOTIONS
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.tagging import TaggingConfig

METRICS = ("mean_binary_balanced_accuracy", "mean_binary_accuracy", "mean_binary_f1", "pooled_binary_f1", "calm_f1")


def protocol(name: str, label: str, **changes: object) -> Protocol:
    """Return the protocol of one column; turns without a value in it are left out."""

    def split(manifest: Manifest) -> list[Fold]:
        known = manifest.where(**{label: sorted({v for v in manifest.column(label) if v is not None})})
        return [Fold("official", *(known.where(split=part) for part in ("train", "validation", "test1")))]

    task = TaggingConfig(label, label=label, classes=EMOTIONS, metric_names=METRICS, tune_thresholds=True)
    return Protocol(
        name=name,
        corpus="msp_podcast",
        split=split,
        tasks=(task,),
        primary="mean_binary_balanced_accuracy@tuned",
        disjoint=("id",),
        **changes,  # type: ignore[arg-type]
    )
