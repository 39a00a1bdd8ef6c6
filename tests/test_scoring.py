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
