from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sonolex.labels import class_name
from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import MISSING, Model, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.probe import ProbeConfig
from sonolex.tasks.regression import RegressionConfig
from sonolex.tasks.tagging import TaggingConfig
from sonolex.tasks.verification import VerificationConfig
from sonolex.types import Batch, Encoding, Losses, Term
from tests.conftest import TINY

BATCH = Batch(
    ("a", "b", "c"), labels={"mood": ("glad", None, "sad"), "value": (1.0, None, "2.5"), "speaker": ("x", "z", "y")}
)
POOLED = Encoding(torch.randn(3, 8))


def system():
    return build_system("ctal", TINY)


def silence(task) -> None:
    """Make the head answer 0 whatever it hears."""
    for parameter in task.head.parameters():
        torch.nn.init.zeros_(parameter)


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


def test_regression_is_in_the_labels_unit_and_ignores_missing_ones():
    task = build_task(RegressionConfig("value", label="value", centre=10.0, spread=2.0), 8)
    batch = task.prepare(BATCH, system())
    assert batch.counts["value"] == 2.0 and batch.targets["value"][2] == 2.5
    silence(task)
    assert task.scores(POOLED).tolist() == [[10.0]] * 3
    (term,) = task.losses(system(), batch, POOLED).values()
    assert term.mean.item() == pytest.approx((9.0 + 7.5) / 2 / 2.0)
    assert task.metrics([1.0, None, 2.5], np.full((3, 1), 10.0))["mae"] == pytest.approx(8.25)
    with pytest.raises(ValueError, match=r"finite number.*clip-1"):
        task.value("high", "clip-1")


@pytest.mark.parametrize("changes", [{}, {"scale": 20.0}, {"embedding_dim": 4}])
def test_verification_trains_on_known_speakers_and_scores_unit_vectors(changes):
    task = build_task(VerificationConfig("speaker", classes=("x", "y"), **changes), 8)
    batch = task.prepare(BATCH, system())
    assert batch.targets["speaker"].tolist() == [0, MISSING, 1] and batch.counts["speaker"] == 2.0
    (term,) = task.losses(system(), batch, POOLED).values()
    assert term.sum.isfinite()
    assert torch.allclose(task.scores(POOLED).norm(dim=1), torch.ones(3), atol=1e-6)
    vectors = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert task.metrics(["x", "x", "y", "y"], vectors) == {"eer": 0.0}
    assert task.metrics(["x", "x", "x", "x"], vectors) == {}


def test_pretraining_terms_can_be_left_out(processor, corpus):
    from tests.systems.test_contract import examples

    made = build_system("ctal", system_type("ctal").matched(TINY, processor))
    task = build_task(PretrainingConfig("pre", weight=0.5, term_weights={"mlm": 0.0}), 8)
    batch = task.prepare(processor.collate(examples(processor, corpus, {"audio", "text"})), made)
    terms = task.losses(made, batch, None)
    assert set(terms) == {"mcam"} and terms["mcam"].weight == 0.5
    wrong = build_task(PretrainingConfig("pre", term_weights={"mlmm": 0.0}), 8)
    with pytest.raises(ValueError, match="mlmm"):
        wrong.prepare(batch, made)


def test_losses_over_several_batches_are_one_mean():
    terms = [Losses({"x": Term(torch.tensor(s), n, 2.0)}) for s, n in ((6.0, 3.0), (1.0, 1.0))]
    assert sum(t.total_over({"x": 4.0}).item() for t in terms) == pytest.approx(2.0 * 7.0 / 4.0)
    assert terms[0].total.item() == 4.0


def test_a_model_encodes_once_for_all_tasks():
    made = system()
    tasks = {
        n: build_task(ClassificationConfig(n, label="mood", classes=("glad", "sad")), made.pooled_dim) for n in "ab"
    }
    model = Model(made, tasks)
    calls = []
    original = made.encode
    made.encode = lambda batch: calls.append(1) or original(batch)  # type: ignore[method-assign]
    batch = Batch(
        ("a", "b", "c"),
        frames_BTF=torch.randn(3, 9, TINY.num_features),
        frames_valid_BT=torch.ones(3, 9, dtype=torch.bool),
        labels=BATCH.labels,
    )
    assert set(model(model.prepare(batch)).terms) == {"a", "b", "orthogonal"} and len(calls) == 1


def test_labels_have_one_spelling():
    assert [class_name(v) for v in (3, 3.0, "3", True, 2.5)] == ["3", "3", "3", "yes", "2.5"]


@pytest.mark.parametrize("classes", [("a",), ("a", "a")])
def test_too_few_classes_are_refused(classes):
    with pytest.raises(ValueError, match="classes"):
        ClassificationConfig("x", classes=classes)


def test_a_probe_tells_informative_vectors_from_noise_and_trains_nothing():
    rng = np.random.default_rng(0)
    labels = ["a", "b"] * 30
    noise = rng.normal(size=(60, 6))
    informative = noise + np.array([[2.0] * 6, [-2.0] * 6] * 30)
    task = build_task(ProbeConfig("probe", label="mood"), 6)
    assert not task.trained and not list(task.parameters())
    told = task.metrics([*labels, None], np.vstack([informative, noise[:1]]))
    assert told["linear_accuracy"] > 0.95 and told["knn_accuracy"] > 0.95
    guessed = task.metrics(labels, noise)
    assert abs(guessed["linear_accuracy"] - 0.5) < 0.25 and abs(guessed["knn_accuracy"] - 0.5) < 0.25
    assert task.metrics(["a"] * 3, noise[:3]) == {}
    with pytest.raises(ValueError, match="at least 2 clips"):
        task.metrics(["a", "a", "b"], noise[:3])


def test_a_probe_has_no_say_in_the_best_checkpoint_and_costs_no_encoding_in_training(processor, corpus):
    from sonolex.train.evaluation import Evaluation
    from sonolex.train.selection import selection_value
    from tests.systems.test_contract import examples

    made = build_system("ctal", system_type("ctal").matched(TINY, processor))
    tasks = {
        "pre": build_task(PretrainingConfig("pre"), made.pooled_dim),
        "probe": build_task(ProbeConfig("probe", label="mood"), made.pooled_dim),
    }
    model = Model(made, tasks)
    batch = model.prepare(processor.collate(examples(processor, corpus, {"audio", "text"})))
    made.encode = lambda batch: pytest.fail("encoded for a probe")  # type: ignore[method-assign]
    assert set(model(batch).terms) == {"mlm", "mcam"}
    evaluation = Evaluation(
        [], {}, {}, np.zeros((0, 0)), {"probe": {"linear_accuracy": 0.9}}, {"mlm": 1.0, "total": 1.0}, {"mlm": 1.0}
    )
    assert selection_value(model, evaluation) == -1.0


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


def test_thresholds_are_not_chosen_from_scores_that_are_no_numbers():
    config = TaggingConfig("sounds", label="sounds", classes=("bell", "siren"), tune_thresholds=True)
    task = build_task(config, 4)
    scores = np.array([[0.1, 0.9], [np.nan, 0.2]])
    with pytest.raises(ValueError, match=r"'sounds' on the selection part must be finite"):
        task.calibrate(["bell", "siren"], scores)
