from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sonolex.data.sampler import Sampler, share_of

DURATIONS = np.clip(np.random.default_rng(0).lognormal(np.log(4.5), 0.55, 5000), 2, 12)


def test_each_clip_occurs_once_and_no_batch_is_over_budget():
    sampler = Sampler(DURATIONS, 64.0, 10)
    batches = sampler.epoch(3)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(len(DURATIONS)))
    assert all(len(b) * DURATIONS[b].max() <= 64 and len(b) <= 10 for b in batches)


def test_useful_share_is_at_least_092_on_log_normal_lengths():
    assert Sampler(DURATIONS, 64.0).useful_share() >= 0.92
    assert Sampler(DURATIONS, 32.0).useful_share() >= 0.92


def test_random_batches_mix_lengths_and_lose_no_clip():
    random = Sampler(DURATIONS, 1e6, 50, by_length=False).epoch(0)
    assert np.array_equal(np.sort(np.concatenate(random)), np.arange(len(DURATIONS)))
    assert np.mean([DURATIONS[b].std() for b in random]) > 0.9 * DURATIONS.std()
    assert np.mean([DURATIONS[b].std() for b in Sampler(DURATIONS, 1e6, 50).epoch(0)]) < 0.1 * DURATIONS.std()


def test_the_order_is_a_function_of_seed_and_epoch():
    one, two = Sampler(DURATIONS, 64.0, seed=1), Sampler(DURATIONS, 64.0, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(one.epoch(4), one.epoch(4), strict=True))
    assert not np.array_equal(one.epoch(4)[0], one.epoch(5)[0])
    assert not np.array_equal(one.epoch(4)[0], two.epoch(4)[0])


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_processes_share_every_batch_and_take_equally_many_steps(world_size):
    batches = Sampler(DURATIONS, 64.0).epoch(0)
    shares = [[share_of(b, rank, world_size) for b in batches] for rank in range(world_size)]
    assert len({len(s) for s in shares}) == 1
    for step, batch in enumerate(batches):
        assert sorted(np.concatenate([s[step] for s in shares]).tolist()) == sorted(batch.tolist())


def test_a_clip_longer_than_the_budget_is_a_batch_of_its_own():
    batches = Sampler(np.array([1.0, 500.0, 1.0]), 10.0).epoch(0)
    assert [1] in [b.tolist() for b in batches]


def test_evaluation_goes_by_length():
    order = np.concatenate(Sampler(DURATIONS, 64.0).evaluation())
    assert (np.diff(DURATIONS[order]) >= 0).all()


@pytest.mark.parametrize(("durations", "match"), [([], "at least one"), ([1.0, np.nan], "known for every clip")])
def test_unusable_durations_are_refused(durations, match):
    with pytest.raises(ValueError, match=match):
        Sampler(np.array(durations), 10.0)


def classes_of(batches, labels):
    return Counter(labels[i] for b in batches for i in b)


def test_balanced_epochs_have_the_transfer_studys_counts():
    """Reference B5: SLUE's 1,279 / 227 / 4,223 clips become 227 each, or 3,837 / 4,086 / 4,223."""
    labels = ["positive"] * 1279 + ["negative"] * 227 + ["neutral"] * 4223 + [None] * 5
    for balance, expected in (
        ("prune", (227, 227, 227)),
        ("repeat", (3837, 4086, 4223)),
        ("fill", (4223, 4223, 4223)),
    ):
        sampler = Sampler(np.ones(len(labels)), 64, labels=labels, balance=balance)
        first, second = (sampler.epoch(e) for e in (0, 1))
        counts = classes_of(first, labels)
        assert tuple(counts[c] for c in ("positive", "negative", "neutral")) == expected and counts[None] == 5
        assert classes_of(second, labels) == counts
        if balance == "prune":
            assert sorted(np.concatenate(first)) == sorted(np.concatenate(second))


def test_the_even_sampler_draws_classes_alike():
    labels = ["a"] * 900 + ["b"] * 100
    sampler = Sampler(np.ones(1000), 64, labels=labels, balance="even")
    counts = classes_of(sampler.epoch(3), labels)
    assert counts.total() == 1000 and 430 < counts["b"] < 570
    assert [b.tolist() for b in sampler.epoch(3)] == [b.tolist() for b in sampler.epoch(3)]


def test_balance_needs_labels():
    with pytest.raises(ValueError, match="balance"):
        Sampler(np.ones(3), 64, balance="even")
