"""Save the winner as a model folder, and every candidate's answers as files for tables and pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sonolex.data.manifest import Manifest
from sonolex.doors.fit.blocks import Blocks
from sonolex.doors.fit.contest import AverageCandidate, NetworkCandidate, Outcome, SmallCandidate
from sonolex.doors.fit.features import Features
from sonolex.doors.fit.question import Question
from sonolex.names import spelled
from sonolex.processors.base import Processor
from sonolex.processors.statistics import StatisticsProcessor, StatisticsProcessorConfig
from sonolex.systems.average import Average, AverageProcessor
from sonolex.systems.base import System
from sonolex.tasks.base import Model, build_task
from sonolex.train.checkpoint import load_model
from sonolex.train.evaluation import groups_of, write_scores

FLOORS, CANDIDATES = "floors", "candidates"


@dataclass(frozen=True)
class Member:
    """A trained system with its processor, its linear readout, and the modalities it reads."""

    system: System
    processor: Processor
    readout: nn.Linear
    modalities: tuple[str, ...]


@dataclass(frozen=True)
class Winner:
    """The final model with its processor and the modalities it reads."""

    model: Model
    processor: Processor
    modalities: tuple[str, ...]


class Builder:
    """Builds the final model of a candidate.

    Args:
        network_folders: folders of the final trainings, by the network's name.
    """

    def __init__(self, question: Question, features: Features, blocks: Blocks, network_folders: dict[str, Path]):
        self._question, self._features, self._blocks = question, features, blocks
        self._folders = network_folders

    def winner(self, candidate: Any) -> Winner:
        """Return the model of a candidate."""
        if isinstance(candidate, NetworkCandidate):
            model, processor, _ = load_model(self._folders[candidate.name] / "model", own={self._question.kind})
            return Winner(model, processor, tuple(_modalities(model.system)))
        if isinstance(candidate, AverageCandidate):
            pair = candidate.pair(self._blocks.final)
            members = [self._member(c) for c in pair]
            systems, processors = [m.system for m in members], [m.processor for m in members]
            average = Average.of(systems, [m.readout for m in members], of=self._question.answers)
            processor = AverageProcessor.of([s.name for s in systems], processors)
            read = [n for n in ("audio", "text") if any(n in m.modalities for m in members)]
            return Winner(self._with_head(average), processor, tuple(read))
        member = self._member(candidate)
        return Winner(self._with_head(member.system), member.processor, member.modalities)

    def _member(self, candidate: Any) -> Member:
        if isinstance(candidate, NetworkCandidate):
            model, processor, _ = load_model(self._folders[candidate.name] / "model", own={self._question.kind})
            head = dict(model.task_items())[self._question.name].head
            readout = _linear(head.out.weight, head.out.bias)  # type: ignore[union-attr]
            return Member(model.system, processor, readout, tuple(_modalities(model.system)))
        assert isinstance(candidate, SmallCandidate)
        model, scale = candidate.final()
        with torch.no_grad():
            model.system.scale_C.mul_(scale)
            model.system.offset_C.mul_(scale)
        terms = [self._features.terms[i] for i in model.terms]
        config = StatisticsProcessorConfig(sets=model.small.sets, max_terms=len(terms))
        processor = StatisticsProcessor(config, terms)
        return Member(model.system, processor, handing_over(model.system, self._question), model.small.modalities)

    def _with_head(self, system: System) -> Model:
        """Return the system with a head that copies the last numbers of its pooled vector."""
        task = build_task(self._question.config, system.pooled_dim)
        readout = handing_over(system, self._question)
        with torch.no_grad():
            task.head.out.weight.copy_(readout.weight)  # type: ignore[union-attr]
            task.head.out.bias.copy_(readout.bias)  # type: ignore[union-attr]
        return Model(system.eval(), {self._question.name: task})


def handing_over(system: System, question: Question) -> nn.Linear:
    """Return a readout that copies the last numbers of a pooled vector."""
    weight = torch.zeros(question.num_outputs, system.pooled_dim)
    weight[:, -question.num_outputs :] = torch.eye(question.num_outputs)
    return _linear(weight, torch.zeros(question.num_outputs))


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear


def _modalities(system: System) -> list[str]:
    return [n for n in ("audio", "text") if any(n in accepted for accepted in system.accepts)]


def write_answers(folder: Path, model: Model, question: Question, clips: Manifest, outcome: Outcome) -> None:
    """Write the answers of the procedure and of every candidate on the reported clips; floors have their own folder."""
    ids, label = clips.column("id"), question.config.label
    groups = groups_of(clips, label)
    order = np.argsort(outcome.rows)  # in the table's order
    rows = outcome.rows[order]
    of = {
        "clip_ids": [ids[i] for i in rows],
        "labels": [question.labels[i] for i in rows],
        "groups": None if groups is None else [groups[i] for i in rows],
    }
    for name, shares in outcome.answers.items():
        if name == "fit":
            place = folder / "predictions" / f"{spelled(question.name)}.json"
        else:
            kind = FLOORS if outcome.candidates[name].floor else CANDIDATES
            place = folder / kind / f"{spelled(question.name)}.{name}.json"
        write_scores(place, model, question.name, of["clip_ids"], of["labels"], shares[order], groups=of["groups"])


def metrics_of(question: Question, clips: Manifest, outcome: Outcome) -> dict[str, dict[str, float]]:
    """Return all metrics of the procedure ("fit") and of every candidate on the reported clips."""
    label = question.config.label
    groups = groups_of(clips, label)
    labels = [question.labels[i] for i in outcome.rows]
    of_rows = None if groups is None else [groups[i] for i in outcome.rows]
    return {name: question.task.metrics(labels, shares, of_rows) for name, shares in outcome.answers.items()}
