"""Candidates compete: each is judged on blocks that it did not learn from, and nothing that is reported chooses.

A *context* is the set of blocks that must stay unknown: in turn each block that is reported, and at last what the final
model must not know. In every context each candidate answers other blocks without having learned from them (or from the
context); those answers choose its settings, calibrate it, and choose the winner. The winner of a reported block then
answers that block. All of these answers together are what `fit` itself scores. In cross-validation the final model is
the candidate whose own answers on all blocks are best: they were given before it knew them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Protocol

import numpy as np

from sonolex.doors.fit.blocks import Blocks
from sonolex.doors.fit.features import Features
from sonolex.doors.fit.question import Question
from sonolex.doors.fit.small import Fitted, Small, fitted

BEST_SMALL = 3  # small models of which averages are tried
SCALES = np.geomspace(0.05, 20.0, 49)
SMALLEST = 1e-7
DRAWS = 40  # of clips, for a standard error
Context = frozenset[int]
Answers = Mapping[int, np.ndarray]


class Candidate(Protocol):
    """Something that answers clips: shares of classes or tags, or values."""

    name: str
    floor: bool

    def choosing(self, context: Context) -> dict[int, np.ndarray]:
        """Return what it answers on the blocks that choose in a context, by block; some may be missing."""
        ...

    def reported(self, block: int) -> np.ndarray:
        """Return what it answers on a reported block."""
        ...


class SmallCandidate:
    """A small model: its setting and calibration are chosen anew in every context."""

    def __init__(self, small: Small, features: Features, question: Question, blocks: Blocks, *, seed: int):
        self.small, self.name, self.floor = small, small.name, small.floor
        self._features, self._question, self._blocks, self._seed = features, question, blocks, seed
        self._answers: dict[tuple[float, Context], dict[int, np.ndarray]] = {}
        self._chosen: dict[Context, tuple[float, float, dict[int, np.ndarray]]] = {}

    def choosing(self, context: Context) -> dict[int, np.ndarray]:
        _, scale, outputs = self._settled(context)
        return {b: self._question.shares(scale * x) for b, x in outputs.items()}

    def reported(self, block: int) -> np.ndarray:
        cost, scale, _ = self._settled(frozenset({block}))
        return self._question.shares(scale * self._outputs(cost, frozenset({block}))[block])

    def final(self) -> tuple[Fitted, float]:
        """Return the model that learned from all it may, and the scale of its outputs."""
        context = self._blocks.final
        cost, scale, _ = self._settled(context)
        rows = self._blocks.learned(context)
        return fitted(self.small, cost, self._features, self._question, rows, seed=self._seed), scale

    def _settled(self, context: Context) -> tuple[float, float, dict[int, np.ndarray]]:
        """Return the best cost, the scale that calibrates it, and its outputs on the choosing blocks."""
        if context not in self._chosen:
            numbers = self._blocks.choosing(context)
            rows = self._blocks.together(numbers)
            found = []
            for cost in self.small.costs:
                outputs = {b: self._outputs(cost, context | {b})[b] for b in numbers}
                joined = np.concatenate([outputs[b] for b in numbers])
                found.append((self._question.score(rows, self._question.shares(joined)), cost, outputs, joined))
            _, cost, outputs, joined = max(found, key=lambda f: f[0])
            self._chosen[context] = cost, calibrated(self._question, rows, joined), outputs
        return self._chosen[context]

    def _outputs(self, cost: float, without: Context) -> dict[int, np.ndarray]:
        key = cost, without
        if key not in self._answers:
            rows = self._blocks.learned(without)
            model = fitted(self.small, cost, self._features, self._question, rows, seed=self._seed)
            self._answers[key] = {b: model.outputs(self._features, self._blocks.rows[b]) for b in without}
        return self._answers[key]


class NetworkCandidate:
    """A trained network, by what it answered: two blocks of every training stay unknown to it.

    In cross-validation the training without blocks a and b answers a where b is reported, and the other way round.
    """

    floor = False

    def __init__(self, name: str, answers: Mapping[Context, Mapping[int, np.ndarray]], blocks: Blocks):
        self.name, self._answers, self._blocks = name, answers, blocks

    def choosing(self, context: Context) -> dict[int, np.ndarray]:
        found = {}
        for pair, by_block in self._answers.items():
            if context <= pair:
                found |= {b: x for b, x in by_block.items() if b not in context and b not in found}
        return {b: found[b] for b in self._blocks.choosing(context) if b in found}

    def reported(self, block: int) -> np.ndarray:
        return next(x[block] for pair, x in self._answers.items() if block in pair and block == self._first(pair))

    def _first(self, pair: Context) -> int:
        """Return the block that a training was made to report: the one before the other in the circle."""
        if not self._blocks.crossed:
            return self._blocks.reports[0]
        count = len(self._blocks.rows)
        return next(b for b in pair if (b + 1) % count in pair)


class AverageCandidate:
    """The best average of two candidates, chosen anew in every context."""

    name, floor = "average_of_two", False

    def __init__(self, members: Sequence[Candidate], question: Question, blocks: Blocks):
        self._members, self._question, self._blocks = members, question, blocks
        self._chosen: dict[Context, tuple[Candidate, Candidate]] = {}

    def choosing(self, context: Context) -> dict[int, np.ndarray]:
        return _mean(*(m.choosing(context) for m in self.pair(context)))

    def reported(self, block: int) -> np.ndarray:
        first, second = self.pair(frozenset({block}))
        return (first.reported(block) + second.reported(block)) / 2

    def pair(self, context: Context) -> tuple[Candidate, Candidate]:
        """Return the two whose average is best in a context: two of the best small models, or one and a network."""
        if context not in self._chosen:
            small = [m for m in self._members if not isinstance(m, NetworkCandidate)]
            ranked = sorted(small, key=lambda m: -_score(self._question, self._blocks, m.choosing(context)))
            tried = [*ranked[:BEST_SMALL], *(m for m in self._members if isinstance(m, NetworkCandidate))]
            judged = judge(self._question, self._blocks, context, [_Pair(a, b) for a, b in combinations(tried, 2)])
            best = max(judged, key=lambda j: j.value).candidate
            assert isinstance(best, _Pair)
            self._chosen[context] = best.first, best.second
        return self._chosen[context]


@dataclass(frozen=True)
class _Pair:
    """Two candidates as one, before any is chosen."""

    first: Candidate
    second: Candidate
    floor = False

    @property
    def name(self) -> str:
        return f"{self.first.name} + {self.second.name}"

    def choosing(self, context: Context) -> dict[int, np.ndarray]:
        return _mean(self.first.choosing(context), self.second.choosing(context))

    def reported(self, block: int) -> np.ndarray:
        return (self.first.reported(block) + self.second.reported(block)) / 2


@dataclass(frozen=True)
class Judged:
    """A candidate and its score on the choosing blocks of a context, more is better."""

    candidate: Any
    value: float


def judge(question: Question, blocks: Blocks, context: Context, candidates: Sequence[Any]) -> list[Judged]:
    """Return every candidate with its value in a context.

    One that answered some of the choosing blocks only (a network, whose epoch was chosen there too) is set beside the
    best of those that answered all, on the blocks of both. It keeps its distance from that one, less a standard error
    of it: on so few clips the best of several looks better than it is.
    """
    answers = [c.choosing(context) for c in candidates]
    most = max(len(a) for a in answers)
    whole = {i: _score(question, blocks, a) for i, a in enumerate(answers) if len(a) == most}
    best = max(whole, key=lambda i: whole[i])
    judged = []
    for i, (candidate, own) in enumerate(zip(candidates, answers, strict=True)):
        if i in whole:
            judged.append(Judged(candidate, whole[i]))
            continue
        beside = {b: answers[best][b] for b in own}
        judged.append(Judged(candidate, whole[best] + _distance(question, blocks, own, beside) if own else -np.inf))
    return judged


def _distance(question: Question, blocks: Blocks, own: Answers, beside: Answers) -> float:
    """Return how much better one's answers are than another's on the same blocks, less a standard error."""
    numbers = tuple(own)
    rows = blocks.together(numbers)
    pair = [np.concatenate([answers[b] for b in numbers]) for answers in (own, beside)]
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(rows), size=len(rows)) for _ in range(DRAWS)]
    drawn = [question.score(rows[i], pair[0][i]) - question.score(rows[i], pair[1][i]) for i in draws]
    error = np.std([d for d in drawn if np.isfinite(d)] or [np.inf])
    return question.score(rows, pair[0]) - question.score(rows, pair[1]) - float(error)


@dataclass(frozen=True)
class Outcome:
    """What a contest found.

    Attributes:
        winner: the candidate of the final model.
        values: of all candidates where the winner was chosen, more is better.
        by_block: the winner of every reported block.
        answers: by candidate, and of the procedure itself under "fit", on all reported rows, block after block.
        rows: those rows.
    """

    winner: Any
    values: dict[str, float]
    by_block: dict[int, str]
    answers: dict[str, np.ndarray]
    rows: np.ndarray
    candidates: dict[str, Any] = field(default_factory=dict)


def contest(
    question: Question, blocks: Blocks, candidates: Sequence[Any], *, eligible: Callable[[Any], bool] = lambda c: True
) -> Outcome:
    """Return who wins, and what everybody answered. Only ``eligible`` candidates may win."""
    running = [c for c in candidates if eligible(c)]
    by_block, procedure = {}, []
    for block in blocks.reports:
        judged = judge(question, blocks, frozenset({block}), running)
        chosen = max(judged, key=lambda j: j.value).candidate
        by_block[block] = chosen.name
        procedure.append(chosen.reported(block))
    answers = {c.name: np.concatenate([c.reported(b) for b in blocks.reports]) for c in candidates}
    rows = blocks.together(blocks.reports)
    if blocks.crossed:  # every clip has an answer of models that did not know it, settings included
        values = {c.name: question.score(rows, answers[c.name]) for c in candidates}
    else:
        values = {j.candidate.name: j.value for j in judge(question, blocks, blocks.final, candidates)}
    return Outcome(
        max(running, key=lambda c: values[c.name]),
        values,
        by_block,
        answers | {"fit": np.concatenate(procedure)},
        rows,
        {c.name: c for c in candidates},
    )


def calibrated(question: Question, rows: np.ndarray, outputs_NC: np.ndarray) -> float:
    """Return the scale of outputs under which the true classes or tags are most likely; 1 for values.

    One scale for all outputs changes no decision.
    """
    losses = []
    for scale in SCALES:
        shares = np.clip(question.shares(scale * outputs_NC), SMALLEST, 1 - SMALLEST)
        loss = question.surprise(rows, shares)
        if loss is None:
            return 1.0
        losses.append(loss)
    return float(SCALES[int(np.argmin(losses))])


def _score(question: Question, blocks: Blocks, answers: Answers) -> float:
    numbers = tuple(answers)
    return question.score(blocks.together(numbers), np.concatenate([answers[b] for b in numbers]))


def _mean(first: Answers, second: Answers) -> dict[int, np.ndarray]:
    return {b: (first[b] + second[b]) / 2 for b in first if b in second}
