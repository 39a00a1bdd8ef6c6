"""Ten environmental sounds, five official folds, predictions pooled (each fold has 80 clips: the mean of the folds).

Selection: a tenth of the training folds. SSAST selects the epoch on the test folds, which flatters.
"""

from __future__ import annotations

from sonolex.data.corpora.esc10 import SOUNDS
from sonolex.protocols._esc import METRICS, five_folds
from sonolex.protocols.base import Protocol
from sonolex.tasks.classification import ClassificationConfig

PROTOCOL = Protocol(
    name="esc10",
    corpus="esc10",
    split=five_folds,
    tasks=(ClassificationConfig("sound", label="sound", classes=SOUNDS, metric_names=METRICS),),
    primary="accuracy",
    disjoint=("id", "source_id"),
    modalities=("audio",),
    published={
        "random forest (Piczak 2015)": {"accuracy": 0.727},
        "SVM (Piczak 2015)": {"accuracy": 0.675},
        "human listeners (Piczak 2015)": {"accuracy": 0.957},
    },
    notes="Published rows used 44.1 kHz audio.",
)
