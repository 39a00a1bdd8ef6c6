"""Pre-training: the system's own objectives, weighted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from sonolex.systems.base import System
from sonolex.tasks.base import Task, TaskConfig
from sonolex.types import Batch, Encoding, Term


@dataclass(frozen=True)
class PretrainingConfig(TaskConfig):
    """``term_weights`` scales single objectives, e.g. ``{"mlm": 0.0}`` leaves one out; 1 otherwise."""

    term_weights: Mapping[str, float] = field(default_factory=dict)


class Pretraining(Task):
    """Corrupts in the worker, trains on the system's losses, scores by their mean."""

    config_type = PretrainingConfig
    needs_encoding = False
    primary_metric = "loss"
    config: PretrainingConfig

    def __init__(self, config: PretrainingConfig, pooled_dim: int):
        super().__init__()
        self.config = config

    def prepare(self, batch: Batch, system: System) -> Batch:
        unknown = set(self.config.term_weights) - set(system.objectives)
        if unknown:
            raise ValueError(
                f"`term_weights` must name objectives of {system.name} ({', '.join(system.objectives)}), but has "
                f"{', '.join(sorted(unknown))}."
            )
        return system.corrupt(batch)

    def losses(self, system: System, batch: Batch, encoding: Encoding | None) -> dict[str, Term]:
        return self._weighted(system.pretraining_losses(batch))

    def loss_terms(self, system: System) -> tuple[str, ...]:
        return system.objectives

    def compares_clips(self, system: System) -> bool:
        return bool(system.joint_objectives)

    def rows(self, system: System, batch: Batch) -> dict[str, Tensor]:
        return system.pretraining_rows(batch)

    def joint_losses(self, system: System, rows: Mapping[str, Tensor]) -> dict[str, Term]:
        return self._weighted(system.joint_losses(rows))

    def _weighted(self, terms: dict[str, Term]) -> dict[str, Term]:
        weights = self.config.term_weights
        return {
            name: replace(term, weight=self.config.weight * weights.get(name, 1.0) * term.weight)
            for name, term in terms.items()
            if weights.get(name, 1.0) != 0
        }


TASK = Pretraining
