"""Candidates compete on blocks that they were not trained on; the choice for a reported block never uses that block.

A *context* is the set of blocks that must stay unseen: each reported block in turn, and last the blocks that the final
model must not see. In every context each candidate answers other blocks after training without them and without the
context; those answers choose its settings, calibrate it, and choose the winner. The winner of a reported block then
answers that block, and all these answers together are the result of `fit` itself. In cross-validation the final model
is the candidate with the best answers on all blocks, each answered by a model that had not seen it.
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
    """A model that answers clips with shares of classes or tags, or with values."""

    name: str
    floor: bool

    def choosing(self, context: Context) -> dict[int, np.ndarray]:
        """Return its answers, by block, on the blocks that choose in a context; some may be missing."""
        ...

    def reported(self, block: int) -> np.ndarray:
        """Return its answers on a reported block."""
        ...


class SmallCandidate:
    """A small model; its setting and calibration are chosen anew in every context."""

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
        """Return the model trained on all blocks it may see, and the scale of its outputs."""
        context = self._blocks.final
        cost, scale, _ = self._settled(context)
        rows = self._blocks.learned(context)
        return fitted(self.small, cost, self._features, self._question, rows, seed=self._seed), scale

    def _settled(self, context: Context) -> tuple[float, float, dict[int, np.ndarray]]:
        """Return the best cost, the scale that calibrates it, and its outputs on the choosing blocks."""
        if context not in self._chosen:
            numbers = self._blocks.choosing(context)
            rows = self._blocks.together(numbers)
            trials = []
            for cost in self.small.costs:
                outputs = {b: self._outputs(cost, context | {b})[b] for b in numbers}
                joined = np.concatenate([outputs[b] for b in numbers])
                trials.append((self._question.score(rows, self._question.shares(joined)), cost, outputs, joined))
            _, cost, outputs, joined = max(trials, key=lambda trial: trial[0])
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
    """A trained network, kept as its answers: every training leaves out two blocks and answers them.

    In cross-validation the training without blocks a and b answers a where b is reported, and the other way round.
    """

    floor = False

    def __init__(self, name: str, answers: Mapping[Context, Mapping[int, np.ndarray]], blocks: Blocks):
        self.name, self._answers, self._blocks = name, answers, blocks

    def choosing(self, context: Context) -> dict[int, np.ndarray]:
        answers: dict[int, np.ndarray] = {}
        for pair, by_block in self._answers.items():
            if context <= pair:
                answers |= {b: x for b, x in by_block.items() if b not in context and b not in answers}
        return {b: answers[b] for b in self._blocks.choosing(context) if b in answers}

    def reported(self, block: int) -> np.ndarray:
        return next(x[block] for pair, x in self._answers.items() if block in pair and block == self._first(pair))

    def _first(self, pair: Context) -> int:
        """Return the block that a training reports: of two neighbours in the circle of blocks, the first."""
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

    A candidate that answered only some of the choosing blocks (a network, whose epoch was chosen there too) is compared
    on those with the best candidate that answered all. Its value is the value of that one, plus the difference, less
    the difference's standard error: on so few clips the best of several looks better than it is.
    """
    answers = [c.choosing(context) for c in candidates]
    most = max(len(a) for a in answers)
    whole = {i: _score(question, blocks, a) for i, a in enumerate(answers) if len(a) == most}
    best = max(whole, key=lambda i: whole[i])
    judged = []
    for i, (candidate, by_block) in enumerate(zip(candidates, answers, strict=True)):
        if i in whole:
            judged.append(Judged(candidate, whole[i]))
            continue
        reference = {b: answers[best][b] for b in by_block}
        value = whole[best] + _gain(question, blocks, by_block, reference) if by_block else -np.inf
        judged.append(Judged(candidate, value))
    return judged


def _gain(question: Question, blocks: Blocks, candidate: Answers, reference: Answers) -> float:
    """Return how much better a candidate's answers are than the reference's, less a standard error of the difference.

    Both answer the same blocks.
    """
    numbers = tuple(candidate)
    rows = blocks.together(numbers)
    pair = [np.concatenate([answers[b] for b in numbers]) for answers in (candidate, reference)]
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(rows), size=len(rows)) for _ in range(DRAWS)]
    drawn = [question.score(rows[i], pair[0][i]) - question.score(rows[i], pair[1][i]) for i in draws]
    error = np.std([d for d in drawn if np.isfinite(d)] or [np.inf])
    return question.score(rows, pair[0]) - question.score(rows, pair[1]) - float(error)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a contest.

    Attributes:
        winner: the candidate that becomes the final model.
        values: score of every candidate in the choice of the winner; more is better.
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
    """Return the winner and every candidate's answers. Only ``eligible`` candidates may win."""
    running = [c for c in candidates if eligible(c)]
    by_block, procedure = {}, []
    for block in blocks.reports:
        judged = judge(question, blocks, frozenset({block}), running)
        chosen = max(judged, key=lambda j: j.value).candidate
        by_block[block] = chosen.name
        procedure.append(chosen.reported(block))
    answers = {c.name: np.concatenate([c.reported(b) for b in blocks.reports]) for c in candidates}
    rows = blocks.together(blocks.reports)
    if blocks.crossed:  # every clip was answered by models, settings included, that had not seen it
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
    """Return the scale of outputs that makes the true classes or tags most likely; 1 for values.

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
