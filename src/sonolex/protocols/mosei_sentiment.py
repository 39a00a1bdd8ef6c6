"""CMU-MOSEI sentiment as a number in [-3, 3]: standard folds, both Acc2 conventions."""

from __future__ import annotations

from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.regression import RegressionConfig

METRICS = ("mae", "pearson", "acc2_zeros_dropped", "f1_zeros_dropped", "acc2_nonnegative", "f1_nonnegative", "acc7")


def split(manifest: Manifest) -> list[Fold]:
    """Return the standard fold; the 399 segments in no fold are left out."""
    return [Fold("standard", *(manifest.where(split=s) for s in ("train", "validation", "test")))]


PROTOCOL = Protocol(
    name="mosei_sentiment",
    corpus="mosei",
    split=split,
    tasks=(RegressionConfig("sentiment", label="sentiment", metric_names=METRICS),),
    primary="mae",
    disjoint=("id", "source_id"),
    # CTAL table 2, without vision.
    published={
        "CTAL-BASE": {"mae": 0.6061, "pearson": 0.6828, "acc2_zeros_dropped": 0.8036, "f1_zeros_dropped": 0.8055},
        "CTAL-LARGE": {"mae": 0.6027, "pearson": 0.6809, "acc2_zeros_dropped": 0.8077, "f1_zeros_dropped": 0.8101},
        "MulT (A+L)": {"mae": 0.6367, "pearson": 0.6292, "acc2_zeros_dropped": 0.7966, "f1_zeros_dropped": 0.8008},
    },
    notes="CTAL follows MulT's code: zeros dropped.",
)
