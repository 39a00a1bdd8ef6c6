"""Pre-training: the system's own objectives, weighted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sonolex.systems.base import System
from sonolex.tasks.base import Task, TaskConfig
from sonolex.types import Batch, Encoding, Term


@dataclass(frozen=True)
class PretrainingConfig(TaskConfig):
    """``term_weights`` scales single objectives, e.g. ``{"mlm": 0.0}`` leaves one out; 1 otherwise."""

    kind = "pretraining"
    term_weights: Mapping[str, float] = field(default_factory=dict)


class Pretraining(Task):
    """Corrupts in the worker, asks the system for its losses, scores by their mean."""

    config_type = PretrainingConfig
    needs_encoding = False
    primary_metric = "loss"
    config: PretrainingConfig

    def __init__(self, config: PretrainingConfig, pooled_dim: int):
        super().__init__()
        self.config = config

    def prepare(self, batch: Batch, system: System) -> Batch:
        return system.corrupt(batch)

    def losses(self, system: System, batch: Batch, encoding: Encoding | None) -> dict[str, Term]:
        terms = system.pretraining_losses(batch)
        unknown = set(self.config.term_weights) - set(terms)
        if unknown and set(batch.counts) == set(terms):
            raise ValueError(f"`term_weights` must name objectives of the system ({sorted(terms)}), but has {unknown}.")
        weights = self.config.term_weights
        return {
            name: replace(term, weight=self.config.weight * weights.get(name, 1.0) * term.weight)
            for name, term in terms.items()
            if weights.get(name, 1.0) != 0
        }


TASK = Pretraining
