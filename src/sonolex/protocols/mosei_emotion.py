"""CMU-MOSEI's six emotions, any number a segment: present if its score is above 0 (CALM section 5.2)."""

from __future__ import annotations

from sonolex.data.corpora.mosei import EMOTIONS
from sonolex.protocols.base import Protocol
from sonolex.protocols.mosei_sentiment import split
from sonolex.tasks.tagging import TaggingConfig

METRICS = ("mean_binary_balanced_accuracy", "mean_binary_accuracy", "mean_binary_f1")
WA, ACCURACY = "mean_binary_balanced_accuracy", "mean_binary_accuracy"

PROTOCOL = Protocol(
    name="mosei_emotion",
    corpus="mosei",
    split=split,
    tasks=(TaggingConfig("emotions", label="emotions", classes=EMOTIONS, metric_names=METRICS, tune_thresholds=True),),
    primary="mean_binary_balanced_accuracy@tuned",
    disjoint=("id", "source_id"),
    # CALM tables 1, 2 and 7, test part. The paper does not say how it decided.
    published={
        "CALM tiny, A+L": {WA: 0.721, ACCURACY: 0.809},
        "CALM base, A+L": {WA: 0.736, ACCURACY: 0.818},
        "CALM tiny, no pre-training": {WA: 0.708, ACCURACY: 0.801},
        "CALM base, no pre-training": {WA: 0.717, ACCURACY: 0.804},
        "CALM tiny, no CALP": {WA: 0.711, ACCURACY: 0.803},
        "CALM base, no CALP": {WA: 0.723, ACCURACY: 0.810},
        "CALM tiny, with MSP-Podcast": {WA: 0.722, ACCURACY: 0.812},
        "CALM base, with MSP-Podcast": {WA: 0.736, ACCURACY: 0.819},
        "CALM tiny, A": {WA: 0.660, ACCURACY: 0.790},
        "CALM base, A": {WA: 0.661, ACCURACY: 0.792},
        "CALM tiny, L": {WA: 0.711, ACCURACY: 0.808},
        "CALM base, L": {WA: 0.725, ACCURACY: 0.813},
        "chance": {WA: 0.500, ACCURACY: 0.775},
    },
    notes="CALM's WA is the mean over emotions of ½ (recall + specificity). Chance answers no to everything.",
)
