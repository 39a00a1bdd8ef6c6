from __future__ import annotations

import numpy as np
import pytest

from sonolex.scores import tagging


def test_yes_or_no_metrics_say_how_they_were_decided():
    labels = ["a", "a;b", "none", "b"]
    scores = np.array([[0.4, 0.1], [0.45, 0.3], [0.2, 0.05], [0.1, 0.2]])
    options = {"classes": ["a", "b"], "metric_names": ["mean_binary_accuracy", "mean_binary_f1"]}
    plain = tagging.SCORER.score(labels, scores, options)
    assert plain["mean_binary_accuracy@0.5"] == 0.5 and plain["mean_binary_f1@0.5"] == 0.0
    assert plain["mean_binary_accuracy@argmax"] == pytest.approx(6 / 8)
    assert "mean_binary_accuracy@tuned" not in plain
    tuned = tagging.SCORER.score(labels, scores, options | {"thresholds": [0.3, 0.15]})
    assert tuned["mean_binary_accuracy@tuned"] == 1.0 and tuned["mean_binary_f1@tuned"] == 1.0
