"""How good are the vectors already? Linear and nearest-neighbour probes of a clip's pooled vector, without training it.

A probe has no loss: beside a pre-training task it shows, at every evaluation, what the frozen vectors know. Both probes
are cross-validated inside the part that is evaluated, in groups (speakers, recordings) where the corpus has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sonolex.tasks.base import Observer, TaskConfig
from sonolex.types import Encoding


@dataclass(frozen=True)
class ProbeConfig(TaskConfig):
    """Probes of one label.

    Attributes:
        label: the manifest's column.
        num_folds: of the linear probe's cross-validation.
        num_neighbours: of the nearest-neighbour probe (leave one out, cosine).
    """

    kind = "probe"
    label: str = "label"
    num_folds: int = 5
    num_neighbours: int = 5


class Probe(Observer):
    """Scores are the pooled vectors themselves."""

    config_type = ProbeConfig
    scorer = "probe"
    primary_metric = "linear_accuracy"
    config: ProbeConfig

    def scores(self, encoding: Encoding) -> Tensor:
        return encoding.pooled_BD

    def scorer_options(self) -> dict[str, Any]:
        return {"num_folds": self.config.num_folds, "num_neighbours": self.config.num_neighbours}


TASK = Probe
