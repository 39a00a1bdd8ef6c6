"""Clotho-AQA, questions with single-word answers; answers of three annotators by majority.

A run names the answers its training questions have; an answer that none of them has is wrong whatever is predicted.
"""

from __future__ import annotations

from sonolex.protocols._clotho_aqa import official_split
from sonolex.protocols.base import Protocol
from sonolex.tasks.classification import ClassificationConfig

METRICS = ("accuracy", "top5", "top10")

PROTOCOL = Protocol(
    name="clotho_aqa_open",
    corpus="clotho_aqa",
    split=official_split("open"),
    tasks=(ClassificationConfig("answer", label="open", open_vocabulary=True, metric_names=METRICS),),
    primary="accuracy",
    disjoint=("id", "source_id"),
    published={
        "LSTM (Lipping et al. 2022)": {"accuracy": 0.542, "top5": 0.937},
        "SpectroBERT, no pre-training": {"accuracy": 0.201, "top5": 0.444},
        "SpectroBERT, open-nofrz": {"accuracy": 0.497, "top5": 0.879},
        "SpectroBERT, open-frz-nolast": {"accuracy": 0.467, "top5": 0.783},
        "SpectroBERT, open-frz-nolast2": {"accuracy": 0.508, "top5": 0.854},
    },
    notes="The thesis chose its epochs by hand; its answer vocabulary and the merging of annotators are not stated.",
)
