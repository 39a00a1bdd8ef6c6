"""What chooses is never what is reported, and nobody ends below a floor for a lucky number."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sonolex.doors.fit.blocks import Blocks
from sonolex.doors.fit.contest import AverageCandidate, NetworkCandidate, calibrated, contest, judge
from sonolex.doors.fit.question import ClassQuestion
from sonolex.tasks.classification import ClassificationConfig

NUM_BLOCKS, PER_BLOCK = 5, 20


def question():
    labels = tuple("ab"[i % 2] for i in range(NUM_BLOCKS * PER_BLOCK))
    return ClassQuestion(ClassificationConfig("mood", label="mood", classes=("a", "b")), labels)


def blocks():
    rows = tuple(np.arange(b * PER_BLOCK, (b + 1) * PER_BLOCK) for b in range(NUM_BLOCKS))
    return Blocks(rows, tuple("12345"), tuple(range(NUM_BLOCKS)))


def shares(rows, right):
    """Answers of which a share ``right`` is correct, the wrong ones last."""
    true = np.array([i % 2 for i in rows])
    wrong = np.arange(len(rows)) >= round(right * len(rows))
    return np.eye(2)[np.where(wrong, 1 - true, true)]


class Stub:
    """Answers blocks that choose with one share of right answers, and reported ones with another."""

    def __init__(self, name, choosing, reported, floor=False):
        self.name, self._choosing, self._reported, self.floor = name, choosing, reported, floor

    def choosing(self, context):
        return {b: shares(blocks().rows[b], self._choosing) for b in blocks().choosing(context)}

    def reported(self, block):
        return shares(blocks().rows[block], self._reported)


class StubOf(Stub):
    """The same for other blocks."""

    def __init__(self, of, *given):
        super().__init__(*given)
        self._blocks = of

    def choosing(self, context):
        return {b: shares(self._blocks.rows[b], self._choosing) for b in self._blocks.choosing(context)}


def test_the_reported_answers_choose_nothing():
    better_reported, better_chosen = Stub("lucky", 0.6, 1.0), Stub("good", 0.8, 0.7)
    outcome = contest(question(), blocks(), [better_reported, better_chosen, Stub("floor", 0.5, 0.5, floor=True)])
    assert set(outcome.by_block.values()) == {"good"}
    assert question().score(outcome.rows, outcome.answers["fit"]) == pytest.approx(0.7)
    assert question().score(outcome.rows, outcome.answers["lucky"]) == pytest.approx(1.0)
    assert outcome.winner is better_reported  # of the final model, which has to answer none of these clips


def test_with_a_single_test_part_it_does_not_choose_the_final_model_either():
    once = Blocks(blocks().rows, ("test", "validation", "train 1", "train 2", "train 3"), (0,), (1, 2, 3, 4))
    candidates = [StubOf(once, "lucky", 0.6, 1.0), StubOf(once, "good", 0.8, 0.7)]
    outcome = contest(question(), once, candidates)
    assert outcome.winner.name == "good" and outcome.rows.tolist() == list(range(PER_BLOCK))


def test_a_floor_wins_over_what_is_worse_and_only_those_who_may_win_do():
    floor, network = Stub("floor", 0.8, 0.8, floor=True), Stub("network", 0.6, 0.6)
    assert contest(question(), blocks(), [floor, network]).winner is floor
    assert contest(question(), blocks(), [floor, network], eligible=lambda c: c is network).winner is network


def networks_answers(of_first, of_second):
    """Every training answers two neighbouring blocks, the first of which is the one it was made to report."""
    rows = blocks().rows
    pairs = [*pairwise(range(NUM_BLOCKS)), (NUM_BLOCKS - 1, 0)]
    return {frozenset(p): {p[0]: shares(rows[p[0]], of_first), p[1]: shares(rows[p[1]], of_second)} for p in pairs}


def test_a_network_is_judged_on_neighbours_it_did_not_learn_from_and_reported_once():
    network = NetworkCandidate("net", networks_answers(0.9, 0.7), blocks())
    assert set(network.choosing(frozenset({2}))) == {1, 3} and set(network.choosing(frozenset())) == set(range(5))
    score = question().score
    assert score(blocks().rows[2], network.reported(2)) == pytest.approx(0.9)
    assert score(blocks().rows[3], network.choosing(frozenset({2}))[3]) == pytest.approx(0.7)
    judged = judge(question(), blocks(), frozenset({2}), [Stub("small", 0.7, 0.7), network])
    values = {j.candidate.name: j.value for j in judged}
    assert values["net"] > values["small"]
    elsewhere = {p: {b: np.roll(x, 6, 0) for b, x in a.items()} for p, a in networks_answers(0.75, 0.75).items()}
    luckier = NetworkCandidate("net", elsewhere, blocks())
    assert score(blocks().rows[3], elsewhere[frozenset({2, 3})][3]) == pytest.approx(0.75)
    judged = judge(question(), blocks(), frozenset({2}), [Stub("small", 0.7, 0.7), luckier])
    assert judged[1].value < judged[0].value  # other clips are right, two more of them: less than a standard error


def test_an_average_of_two_that_err_elsewhere_is_better_than_either():
    class Early(Stub):
        def choosing(self, context):
            return {b: x[::-1] for b, x in super().choosing(context).items()}

    def soft(candidate):
        class Soft:
            name, floor = candidate.name, False
            reported = staticmethod(lambda block: 0.2 + 0.6 * candidate.reported(block))

            @staticmethod
            def choosing(context):
                return {b: 0.2 + 0.6 * x for b, x in candidate.choosing(context).items()}

        return Soft()

    average = AverageCandidate([soft(Stub("one", 0.7, 0.7)), soft(Stub("two", 0.6, 0.6))], question(), blocks())
    assert {c.name for c in average.pair(frozenset())} == {"one", "two"}
    assert average.reported(0).shape == (PER_BLOCK, 2)


def test_calibration_changes_no_decision_and_makes_the_truth_likeliest():
    rng, asked, rows = np.random.default_rng(0), question(), np.arange(100)
    outputs = 8 * (np.eye(2)[asked.targets] + rng.normal(0, 0.8, (100, 2)))
    scale = calibrated(asked, rows, outputs)

    def loss(factor):
        found = asked.shares(factor * outputs)[rows, asked.targets]
        return -np.log(np.clip(found, 1e-9, 1)).mean()

    assert loss(scale) < loss(1.0) and loss(scale) <= min(loss(scale * 1.3), loss(scale / 1.3))
    assert np.array_equal((scale * outputs).argmax(1), outputs.argmax(1))
