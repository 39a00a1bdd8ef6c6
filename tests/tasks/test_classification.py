from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sonolex.tasks.base import MISSING, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.tagging import TaggingConfig
from sonolex.types import Batch, Encoding
from tests.tasks.parts import BATCH, POOLED, silence, system

CASES = [
    (ClassificationConfig("mood", label="mood", classes=("glad", "sad")), ["glad", "sad", "glad", None]),
    (ClassificationConfig("even", label="even", classes=("no", "yes"), single_logit=True), [True, False, False, None]),
    (
        ClassificationConfig(
            "word", label="word", classes=("dog", "cat"), open_vocabulary=True, metric_names=("top2",)
        ),
        ["dog", "cow", "cat", None],
    ),
]


def test_classification_counts_known_labels_and_scores_add_to_one():
    task = build_task(ClassificationConfig("mood", label="mood", classes=("glad", "sad")), 8)
    batch = task.prepare(BATCH, system())
    assert batch.targets["mood"].tolist() == [0, MISSING, 1] and batch.counts["mood"] == 2.0
    (term,) = task.losses(system(), batch, POOLED).values()
    silence(task)
    (even,) = task.losses(system(), batch, POOLED).values()
    assert term.count == 2.0 and even.mean.item() == pytest.approx(math.log(2))
    assert torch.allclose(task.scores(POOLED).sum(1), torch.ones(3))


def test_class_weights_are_a_weighted_mean():
    config = ClassificationConfig("mood", label="mood", classes=("glad", "sad"), class_weights=(1.0, 3.0))
    task = build_task(config, 8)
    batch = task.prepare(BATCH, system())
    assert batch.counts["mood"] == 4.0
    (term,) = task.losses(system(), batch, POOLED).values()
    logits = task.head(POOLED.pooled_BD)[[0, 2]]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]), weight=torch.tensor([1.0, 3.0]))
    assert term.mean.item() == pytest.approx(expected.item(), rel=1e-5)


def test_answers_are_sorted_and_readable():
    task = build_task(ClassificationConfig("mood", label="mood", classes=("glad", "sad")), 8)
    (answer,) = task.decide(np.array([[0.2, 0.8]]))
    assert answer == {"label": "sad", "score": 0.8, "scores": {"sad": 0.8, "glad": 0.2}}


@pytest.mark.parametrize("classes", [("a",), ("a", "a")])
def test_too_few_classes_are_refused(classes):
    with pytest.raises(ValueError, match="classes"):
        ClassificationConfig("x", classes=classes)


def test_mixed_clips_count_both_labels_by_their_shares():
    mixed = Batch(
        ("a", "b"),
        labels={"mood": ("glad", "sad"), "tags": ("dog", "none")},
        other_labels={"mood": ("sad", None), "tags": ("rain", "dog")},
        own_shares=(0.75, 0.6),
    )
    encoding = Encoding(POOLED.pooled_BD[:2])
    task = build_task(ClassificationConfig("mood", label="mood", classes=("glad", "sad")), 8)
    (term,) = task.losses(system(), task.prepare(mixed, system()), encoding).values()
    log_BC = torch.log_softmax(task.head(encoding.pooled_BD), -1)
    by_hand = -(0.75 * log_BC[0, 0] + 0.25 * log_BC[0, 1]) - log_BC[1, 1]  # a partner without label counts as oneself
    assert term.sum.item() == pytest.approx(by_hand.item(), rel=1e-5) and term.count == 2.0
    tagging = build_task(TaggingConfig("tags", label="tags", classes=("dog", "rain")), 8)
    assert torch.allclose(tagging.prepare(mixed, system()).targets["tags"], torch.tensor([[0.75, 0.25], [0.4, 0.0]]))


def test_classes_left_open_by_a_protocol_must_be_named_by_the_run():
    with pytest.raises(ValueError, match="named by the run"):
        build_task(ClassificationConfig("speaker", label="speaker"), 8)


def test_rare_classes_are_weighted_or_their_logits_adjusted():
    labels = {"mood": ["glad"] * 6 + ["sad"] * 2 + [None]}
    config = ClassificationConfig("mood", label="mood", classes=("glad", "sad"))
    weighted = build_task(replace(config, imbalance="weighted").matched(labels), 4)
    adjusted = build_task(replace(config, imbalance="adjusted").matched(labels), 4)
    assert weighted.config.class_counts == (6, 2)
    batch = Batch(("1", "2"), labels={"mood": ("glad", "sad")})
    pooled_BD = torch.randn(2, 4)
    logits = weighted.head(pooled_BD)
    by_hand = F.cross_entropy(logits, torch.tensor([0, 1]), reduction="none") * torch.tensor([8 / 12, 8 / 4])
    (term,) = weighted.losses(None, weighted.prepare(batch, None), Encoding(pooled_BD)).values()
    assert term.mean.item() == pytest.approx(by_hand.sum().item() / (8 / 12 + 8 / 4), rel=1e-5)
    logits = adjusted.head(pooled_BD)
    by_hand = F.cross_entropy(logits + torch.tensor([0.75, 0.25]).log(), torch.tensor([0, 1]))
    (term,) = adjusted.losses(None, adjusted.prepare(batch, None), Encoding(pooled_BD)).values()
    assert term.mean.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert torch.allclose(adjusted.scores(Encoding(pooled_BD)), logits.softmax(-1))
    with pytest.raises(ValueError, match="sad have none"):
        replace(config, imbalance="weighted").matched({"mood": ["glad"]})
