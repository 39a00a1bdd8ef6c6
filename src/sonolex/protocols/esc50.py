"""Fifty environmental sounds, five official folds, predictions pooled (each fold has 400 clips: the mean of the folds).

Selection: a tenth of the training folds. SSAST selects the epoch on the test folds, which flatters; the
thesis reports what looks like one fold.
"""

from __future__ import annotations

from sonolex.data.corpora.esc50 import CLASSES
from sonolex.protocols._esc import METRICS, five_folds
from sonolex.protocols.base import Protocol
from sonolex.tasks.classification import ClassificationConfig

PROTOCOL = Protocol(
    name="esc50",
    corpus="esc50",
    split=five_folds,
    tasks=(ClassificationConfig("sound", label="sound", classes=CLASSES, metric_names=METRICS),),
    primary="accuracy",
    disjoint=("id", "source_id"),
    modalities=("audio",),
    published={
        "SSAST-Patch (thesis table 5.3)": {"accuracy": 0.31, "map": 0.11, "mean_roc_area": 0.90},
        "SSAST-Frame (thesis table 5.3)": {"accuracy": 0.32, "map": 0.14, "mean_roc_area": 0.91},
        "VCR-AST-Patch (thesis table 5.3)": {"accuracy": 0.33, "map": 0.13, "mean_roc_area": 0.90},
        "VCR-AST-Frame (thesis table 5.3)": {"accuracy": 0.35, "map": 0.13, "mean_roc_area": 0.91},
    },
    notes="The thesis pre-trains on ESC-50 itself, batch 12, and looks like one fold of five.",
)
