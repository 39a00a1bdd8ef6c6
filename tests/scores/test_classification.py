from __future__ import annotations

import numpy as np
import pytest

from sonolex.scores import classification, tagging


def test_unknown_labels_are_left_out_and_unknown_names_refused():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    options = {"classes": ["1", "2"], "metric_names": ["accuracy"]}
    assert classification.SCORER.score([1, None, 2.0], scores, options) == {"accuracy": 0.5}
    assert classification.SCORER.score([None] * 3, scores, options) == {}
    with pytest.raises(ValueError, match="some are 7"):
        classification.SCORER.score([7, 1, 2], scores, options)


def test_ranking_metrics_of_one_class_per_clip():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    options = {"classes": ["a", "b"], "metric_names": ["accuracy", "map", "mean_roc_area"]}
    values = classification.SCORER.score(["a", "a", "b", "b"], scores, options)
    assert values == {"accuracy": 0.5, "map": 1.0, "mean_roc_area": 1.0}  # well ranked, badly placed threshold


def test_many_classes_take_memory_by_clips_and_not_by_their_square():
    classes = [str(i) for i in range(200_000)]  # their square: 320 GB
    scores = np.zeros((2, len(classes)), np.float32)
    scores[0, 5] = scores[1, 6] = 1
    options = {"classes": classes, "metric_names": ["accuracy", "map"]}
    assert classification.SCORER.score(["5", "7"], scores, options)["accuracy"] == 0.5
    tags = tagging.SCORER.score(["5", "6"], scores, {"classes": classes, "metric_names": ["mean_binary_accuracy"]})
    assert tags["mean_binary_accuracy@argmax"] == 1.0
