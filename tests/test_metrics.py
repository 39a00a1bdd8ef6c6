"""Every metric meets a perfect, a constant and a permuted predictor."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonolex import eer, metrics

RNG = np.random.default_rng(0)
TRUE = RNG.integers(0, 4, 400)
VALUES = np.round(RNG.normal(size=300), 1)


@pytest.mark.parametrize("name", metrics.CLASSIFICATION)
def test_classification_metrics_meet_three_predictors(name):
    metric = metrics.CLASSIFICATION[name]
    assert metric(TRUE, TRUE) == 1.0
    assert metric(TRUE, np.full_like(TRUE, 2)) < 0.45
    renamed = np.array([2, 0, 3, 1])
    predicted = np.where(RNG.random(400) < 0.7, TRUE, RNG.integers(0, 4, 400))
    assert metric(renamed[TRUE], renamed[predicted]) == pytest.approx(metric(TRUE, predicted))
    with pytest.raises(ValueError, match="equally many"):
        metric(TRUE, TRUE[:3])


def test_constant_predictors_have_their_closed_form():
    assert metrics.balanced_accuracy(TRUE, np.zeros_like(TRUE)) == pytest.approx(0.25)
    assert metrics.accuracy(TRUE, np.zeros_like(TRUE)) == pytest.approx(np.mean(TRUE == 0))


def test_accuracy_and_balanced_accuracy_by_hand():
    true, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert metrics.accuracy(true, predicted) == 0.75
    assert metrics.balanced_accuracy(true, predicted) == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("name", metrics.REGRESSION)
def test_regression_metrics_meet_three_predictors(name):
    metric = metrics.REGRESSION[name]
    best = 0.0 if name == "mae" else 1.0
    assert metric(VALUES, VALUES) == pytest.approx(best)
    order = RNG.permutation(len(VALUES))
    predicted = VALUES + RNG.normal(size=len(VALUES)) * 0.3
    assert metric(VALUES[order], predicted[order]) == pytest.approx(metric(VALUES, predicted))
    constant = metric(VALUES, np.zeros_like(VALUES))
    assert np.isfinite(constant) and abs(constant - best) > 0.1


def test_concordance_is_lowered_by_a_wrong_mean_and_a_wrong_scale():
    true = np.array([1.0, 2.0, 3.0, 4.0])
    assert metrics.ccc(true, true + 1) == pytest.approx(2 * 1.25 / (1.25 + 1.25 + 1))
    assert metrics.ccc(true, 2 * true) == pytest.approx(2 * 2.5 / (1.25 + 5 + 2.5**2))
    assert metrics.ccc(true, -true + 5) == pytest.approx(-1.0) and metrics.pearson(true, 2 * true) == pytest.approx(1.0)
    assert metrics.ccc(true, np.full(4, 2.5)) == 0.0 and metrics.ccc(np.ones(3), np.ones(3)) == 0.0
    with pytest.raises(ValueError, match="equally many"):
        metrics.ccc(true, true[:3])


def test_moseis_constant_positive_predictor_gives_both_published_baselines():
    """Reference 0: 1,350 negative, 1,025 zero, 2,287 positive: 62.9 % with zeros dropped, 71.0 % without."""
    true = np.repeat([-1.0, 0.0, 1.0], [1350, 1025, 2287])
    assert metrics.acc2_zeros_dropped(true, np.ones_like(true)) == pytest.approx(0.629, abs=5e-4)
    assert metrics.acc2_nonnegative(true, np.ones_like(true)) == pytest.approx(0.710, abs=5e-4)


def test_weighted_f1_weights_by_true_support():
    true, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert metrics.weighted_f1(true, predicted) == pytest.approx(0.75 * 0.8 + 0.25 * 2 / 3)
    assert metrics.weighted_f1(predicted, true) != pytest.approx(metrics.weighted_f1(true, predicted))


def test_eer_by_hand_perfect_constant_and_renamed():
    same = np.array([True, True, False, False])
    assert eer.eer(same, np.array([0.9, 0.8, 0.2, 0.1])) == 0.0
    assert eer.eer(same, np.array([0.1, 0.2, 0.8, 0.9])) == 1.0
    assert eer.eer(same, np.zeros(4)) == pytest.approx(0.5)
    assert eer.eer(same, np.array([0.9, 0.3, 0.5, 0.1])) == pytest.approx(0.5)
    scores = RNG.normal(size=500) + (flags := RNG.random(500) < 0.3)
    assert eer.eer(flags, scores) == pytest.approx(eer.eer(flags, np.exp(scores)))
    with pytest.raises(ValueError, match="one kind only"):
        eer.eer(np.ones(4, bool), np.arange(4))


def test_eer_agrees_with_sklearns_curve():
    from sklearn.metrics import roc_curve

    flags = RNG.random(2000) < 0.4
    scores = RNG.normal(size=2000) + flags
    fpr, tpr, _ = roc_curve(flags, scores, drop_intermediate=False)
    crossing = np.argmin(np.abs(fpr - (1 - tpr)))
    assert eer.eer(flags, scores) == pytest.approx((fpr[crossing] + 1 - tpr[crossing]) / 2, abs=2e-3)


def test_eer_interval_draws_clips_and_covers_the_value():
    speakers = np.repeat(np.arange(6), 20).astype(str)
    embeddings = RNG.normal(size=(120, 8)) + np.repeat(RNG.normal(size=(6, 8)), 20, 0)
    same, scores = eer.all_pairs(speakers, embeddings)
    pairs = np.stack(np.triu_indices(120, k=1), 1)
    low, high = eer.eer_interval(same, scores, pairs, num_draws=50)
    assert low < eer.eer(same, scores) < high and high - low < 0.2


def test_the_sampled_eer_is_seeded_perfect_on_perfect_speakers_and_optimistic():
    perfect = {str(s): np.eye(5)[s][None].repeat(10, 0) for s in range(5)}
    assert eer.eer_ge2e_sampled(perfect) == 0.0
    noisy = {str(s): RNG.normal(size=(30, 8)) + 1.2 * RNG.normal(size=8) for s in range(5)}
    assert eer.eer_ge2e_sampled(noisy, seed=1) == eer.eer_ge2e_sampled(noisy, seed=1)
    speakers = np.repeat(list(noisy), 30)
    exact = eer.eer(*eer.all_pairs(speakers, np.concatenate(list(noisy.values()))))
    assert eer.eer_ge2e_sampled(noisy) < exact
    with pytest.raises(ValueError, match="4 speakers"):
        eer.eer_ge2e_sampled({"a": np.zeros((3, 2))})


def test_calms_weighted_accuracy_is_half_recall_plus_specificity():
    true = np.array([[1, 0], [1, 0], [0, 1], [0, 0]])
    predicted = np.array([[1, 0], [0, 0], [0, 1], [1, 0]])
    assert metrics.mean_binary_balanced_accuracy(true, predicted) == pytest.approx(((0.5 + 0.5) / 2 + 1) / 2)
    assert metrics.mean_binary_balanced_accuracy(true, np.zeros_like(true)) == 0.5
    assert metrics.mean_binary_accuracy(true, true) == 1.0
    with pytest.raises(ValueError, match="positives and negatives"):
        metrics.mean_binary_balanced_accuracy(np.ones((3, 1)), np.ones((3, 1)))


def test_top_k_and_average_precision_meet_perfect_and_reversed_scores():
    scores = np.eye(4)[TRUE]
    assert metrics.top_k_accuracy(TRUE, scores, 1) == metrics.top_k_accuracy(TRUE, scores, 2) == 1.0
    assert metrics.top_k_accuracy(TRUE, -scores, 3) == 0.0
    assert metrics.mean_average_precision(np.eye(4)[TRUE], scores) == 1.0


def test_confusion_counts_have_true_classes_by_row():
    assert metrics.confusion_counts(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist() == [[1, 1], [0, 1]]


def test_bootstrap_interval_covers_and_is_wider_by_group():
    true = np.repeat(RNG.integers(0, 2, 20), 10)
    predicted = np.where(np.repeat(RNG.random(20) < 0.7, 10), true, 1 - true)
    low, high = metrics.bootstrap_interval(metrics.accuracy, true, predicted)
    wide = metrics.bootstrap_interval(metrics.accuracy, true, predicted, groups_B=np.repeat(np.arange(20), 10))
    assert low < metrics.accuracy(true, predicted) < high
    assert wide[1] - wide[0] > high - low


def test_thresholds_are_those_with_the_best_recall_and_specificity():
    true = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    scores = np.array([[0.4, 0.3], [0.2, 0.6], [0.1, 0.1], [0.05, 0.9]])
    first, second = metrics.best_thresholds(true, scores)
    assert first == pytest.approx(0.15) and second == 0.5  # halfway between 0.1 and 0.2; no positives


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 10, 10_000]), st.sampled_from([np.float32, np.float64]))
def test_thresholds_are_those_of_the_definition_over_all_clips_and_cuts(seed, distinct, dtype):
    rng = np.random.default_rng(seed)
    true = (rng.random((int(rng.integers(1, 60)), 4)) < [0.1, 0.5, 0.9, 1.0]).astype(float)
    scores = (rng.integers(0, distinct, true.shape) / distinct).astype(dtype)
    if seed % 2:  # neighbours so close that the middle between them is one of them
        scores = np.nextafter(dtype(0.3), dtype(scores > 0.5))
    found = metrics.best_thresholds(true, scores)
    for c, threshold in enumerate(found):
        positive = true[:, c].astype(bool)
        if positive.all() or not positive.any():
            assert threshold == 0.5
            continue
        steps = np.unique(scores[:, c])
        cuts = np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2])
        yes = scores[:, c][:, None] >= cuts
        value = yes[positive].mean(0) - yes[~positive].mean(0)
        best = np.flatnonzero(value == value.max())
        assert threshold == cuts[best[len(best) // 2]]


def test_thresholds_of_many_clips_take_memory_for_the_clips_alone():
    rng = np.random.default_rng(0)
    scores = rng.random((100_000, 2)).astype(np.float32)  # clips x thresholds would be 10 GB
    true = (scores > 0.7) ^ (rng.random(scores.shape) < 0.2)
    tracemalloc.start()
    found = metrics.best_thresholds(true.astype(float), scores)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50e6 and found == pytest.approx([0.7, 0.7], abs=0.01)


def test_calms_f1_is_as_printed():
    true = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    predicted = np.array([[1, 0], [0, 1], [0, 1], [0, 1]])
    # Class 0: F1 2/3, 3 of 4 right; class 1: F1 4/5, 3 of 4 right; weights 3/8 each.
    assert metrics.calm_f1(true, predicted) == pytest.approx(3 / 8 * 2 / 3 + 3 / 8 * 4 / 5)
    assert metrics.mean_binary_f1(true, predicted) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics.pooled_binary_f1(true, predicted) == pytest.approx(2 * 3 / (4 + 4))


def test_always_saying_neutral_scores_as_the_transfer_study_prints_it():
    """Reference B6, B7: 78.22 / 92.74 / 33.33 / 29.26 on SLUE's 1,437 development clips; 26.07 with 0 for undefined."""
    true_B, said_B = np.repeat([0, 1, 2], [51, 1124, 262]), np.ones(1437, int)
    scores = {n: m(true_B, said_B) for n, m in (metrics.CLASSIFICATION | metrics.PRECISION_RECALL).items()}
    assert scores["accuracy"] == pytest.approx(0.7822, abs=5e-5)
    assert scores["macro_precision_undefined_as_1"] == pytest.approx(0.9274, abs=5e-5)
    assert scores["macro_precision"] == pytest.approx(0.2607, abs=5e-5)
    assert scores["macro_recall"] == pytest.approx(0.3333, abs=5e-5)
    assert scores["macro_f1"] == pytest.approx(0.2926, abs=5e-5)


def test_average_precision_and_roc_area_are_scikit_learns_ties_included():
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    for num_scores in (2, 5, 1000):
        true_BC = (rng.random((60, 4)) < 0.3).astype(float)
        scores_BC = rng.integers(0, num_scores, (60, 4)) / num_scores
        pairs = list(zip(true_BC.T, scores_BC.T, strict=True))
        precision, area = (np.mean([f(t, s) for t, s in pairs]) for f in (average_precision_score, roc_auc_score))
        assert metrics.mean_average_precision(true_BC, scores_BC) == pytest.approx(precision, abs=1e-12)
        assert metrics.mean_roc_area(true_BC, scores_BC) == pytest.approx(area, abs=1e-12)
    for metric in (metrics.mean_average_precision, metrics.mean_roc_area):
        with pytest.raises(ValueError, match="`scores` must be finite"):
            metric(np.eye(2), np.array([[np.nan, 0.0], [0.0, 1.0]]))
