from __future__ import annotations

import math

import numpy as np
import pytest

from sonolex.tasks.base import build_task
from sonolex.tasks.tagging import TaggingConfig
from sonolex.types import Batch
from tests.tasks.parts import POOLED, silence, system

CASES = [
    (TaggingConfig("tags", classes=("dog", "rain")), ["dog", "dog;rain", "none", None]),
    (
        TaggingConfig("all", classes=("dog", "rain"), metric_names=("mean_binary_f1",), tune_thresholds=True),
        ["dog;rain", "rain", "none", None],
    ),
]


def test_tagging_by_hand_and_with_missing_labels():
    task = build_task(TaggingConfig("tags", label="tags", classes=("dog", "rain")), 8)
    batch = Batch(("a", "b", "c"), labels={"tags": ("dog;rain", None, "none")})
    batch = task.prepare(batch, system())
    assert batch.targets["tags"][[0, 2]].tolist() == [[1, 1], [0, 0]] and batch.counts["tags"] == 4.0
    silence(task)
    (term,) = task.losses(system(), batch, POOLED).values()
    assert term.mean.item() == pytest.approx(math.log(2))
    assert task.scores(POOLED).tolist() == [[0.5, 0.5]] * 3
    (answer,) = task.decide(np.array([[0.2, 0.9]]))
    assert answer == {"labels": ["rain"], "scores": {"rain": 0.9, "dog": 0.2}}
    with pytest.raises(ValueError, match=r"\['cat'\].*'a'"):
        task.row("dog; cat", "a")
    with pytest.raises(ValueError, match="none"):
        TaggingConfig("tags", classes=("none",))


def test_tagging_scores_of_a_perfect_a_constant_and_a_reversed_predictor():
    task = build_task(TaggingConfig("tags", label="tags", classes=("dog", "rain", "never")), 8)
    labels = ["dog", "rain", "dog;rain", "none"]
    perfect = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], float)
    best = task.metrics(labels, perfect)
    assert best["map"] == best["mean_roc_area"] == 1.0 and best["d_prime"] == np.inf
    assert best["classes_scored"] == 2  # "never" has no positives
    constant = task.metrics(labels, np.full((4, 3), 0.3))
    assert constant["map"] == 0.5 and constant["mean_roc_area"] == 0.5 and constant["d_prime"] == 0.0
    assert task.metrics(labels, 1 - perfect)["mean_roc_area"] == 0.0
    assert task.metrics([None], np.zeros((1, 3))) == {}


def test_thresholds_are_not_chosen_from_scores_that_are_no_numbers():
    config = TaggingConfig("sounds", label="sounds", classes=("bell", "siren"), tune_thresholds=True)
    task = build_task(config, 4)
    scores = np.array([[0.1, 0.9], [np.nan, 0.2]])
    with pytest.raises(ValueError, match=r"'sounds' on the selection part must be finite"):
        task.calibrate(["bell", "siren"], scores)
