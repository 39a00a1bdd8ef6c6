"""Clotho-AQA, questions to be answered yes or no; answers of three annotators by majority."""

from __future__ import annotations

from sonolex.protocols._clotho_aqa import official_split
from sonolex.protocols.base import Protocol
from sonolex.tasks.classification import ClassificationConfig

PROTOCOL = Protocol(
    name="clotho_aqa_binary",
    corpus="clotho_aqa",
    split=official_split("binary"),
    tasks=(ClassificationConfig("answer", label="binary", classes=("no", "yes"), single_logit=True),),
    primary="accuracy",
    disjoint=("id", "source_id"),
    published={
        "LSTM (Lipping et al. 2022)": {"accuracy": 0.627},
        "SpectroBERT, no pre-training": {"accuracy": 0.649},
        "SpectroBERT, bin-frz": {"accuracy": 0.688},
        "SpectroBERT, bin-frz-nolast": {"accuracy": 0.743},
        "SpectroBERT, bin-frz-noaudio": {"accuracy": 0.696},
    },
    notes="The thesis chose its epochs by hand and does not say how annotators were merged.",
)
