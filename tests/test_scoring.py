"""Scorers read raw labels; what they compute with is tested in test_metrics and tests/tasks."""

from __future__ import annotations

import numpy as np
import pytest

from sonolex import metrics, scoring
from sonolex.configs import module_names
from sonolex.tasks.base import task_type


def test_every_task_that_has_scores_names_its_scorer():
    kinds = {name: task_type(name).scorer for name in module_names("tasks")}
    assert set(kinds.values()) - {""} == set(scoring.SCORERS)
    assert [name for name, scorer in kinds.items() if not scorer] == ["pretraining"]


def test_unknown_labels_are_left_out_and_unknown_names_refused():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    options = {"classes": ["1", "2"], "metric_names": ["accuracy"]}
    assert scoring.score("classification", [1, None, 2.0], scores, **options) == {"accuracy": 0.5}
    assert scoring.score("classification", [None] * 3, scores, **options) == {}
    with pytest.raises(ValueError, match="some are 7"):
        scoring.score("classification", [7, 1, 2], scores, **options)
    with pytest.raises(ValueError, match="scorer"):
        scoring.score("ranking", [1], scores)


def test_ranking_metrics_of_one_class_per_clip():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    options = {"classes": ["a", "b"], "metric_names": ["accuracy", "map", "mean_roc_area"]}
    found = scoring.score("classification", ["a", "a", "b", "b"], scores, **options)
    assert found == {"accuracy": 0.5, "map": 1.0, "mean_roc_area": 1.0}  # well ranked, badly placed threshold


def test_verification_reports_the_sampled_eer_beside_the_exact_one_from_four_speakers_on():
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    three, four = np.arange(40) % 3, np.arange(40) % 4
    assert set(scoring.verification(three, vectors)) == {"eer"}
    both = scoring.verification(four, vectors)
    assert both["eer"] == metrics.eer(*metrics.all_pairs(four, vectors))
    assert both["eer_ge2e_sampled"] == metrics.eer_ge2e_sampled({str(k): vectors[four == k] for k in range(4)})


def test_retrieval_by_hand():
    audio = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    text = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = scoring.score("retrieval", ["dog", "rain", "dog"], np.concatenate([audio, text], 1))
    # Texts: dog (1, 0), rain (0, 1). The third recording is nearer to rain, so two of three find their text.
    assert found["audio_to_text_recall_at_1"] == pytest.approx(2 / 3)
    assert found["text_to_audio_recall_at_1"] == 1.0 and found["audio_to_text_recall_at_5"] == 1.0
    constant = scoring.score("retrieval", ["dog", "rain", "dog"], np.ones((3, 4)))
    assert constant["audio_to_text_recall_at_1"] == 0.0
    without = np.concatenate([audio, np.zeros((3, 2))], 1)
    assert scoring.score("retrieval", ["dog", "rain", "dog"], without) == {}


def test_yes_or_no_metrics_say_how_they_were_decided():
    labels = ["a", "a;b", "none", "b"]
    scores = np.array([[0.4, 0.1], [0.45, 0.3], [0.2, 0.05], [0.1, 0.2]])
    options = {"classes": ["a", "b"], "metric_names": ["mean_binary_accuracy", "mean_binary_f1"]}
    plain = scoring.score("tagging", labels, scores, **options)
    assert plain["mean_binary_accuracy@0.5"] == 0.5 and plain["mean_binary_f1@0.5"] == 0.0
    assert plain["mean_binary_accuracy@argmax"] == pytest.approx(6 / 8)
    assert "mean_binary_accuracy@tuned" not in plain
    tuned = scoring.score("tagging", labels, scores, thresholds=[0.3, 0.15], **options)
    assert tuned["mean_binary_accuracy@tuned"] == 1.0 and tuned["mean_binary_f1@tuned"] == 1.0
