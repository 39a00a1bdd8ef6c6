"""How good are the vectors already? Linear and nearest-neighbour probes of a clip's pooled vector, without training it.

A probe has no loss: beside a pre-training task it shows, at every evaluation, what the frozen vectors contain. Both
probes are cross-validated inside the part that is evaluated, in groups (speakers, recordings) where the corpus has
them: vectors that tell voices apart also tell the moods that each voice was recorded in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sonolex.configs import one_of
from sonolex.scores.probe import SCORER
from sonolex.tasks.base import Observer, TaskConfig
from sonolex.types import Encoding


@dataclass(frozen=True)
class ProbeConfig(TaskConfig):
    """Probes of one label.

    Attributes:
        label: the manifest's column.
        num_folds: of the linear probe's cross-validation.
        num_neighbours: of the nearest-neighbour probe (leave one group out, cosine).
        across: "groups", or "clips" for a label that only one speaker has (the speaker itself is never a group then).
    """

    label: str = "label"
    num_folds: int = 5
    num_neighbours: int = 5
    across: str = "groups"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("across", self.across, ("groups", "clips"))


class Probe(Observer):
    """Scores are the pooled vectors themselves."""

    config_type = ProbeConfig
    scorer = SCORER
    primary_metric = "linear_accuracy"
    config: ProbeConfig

    def scores(self, encoding: Encoding) -> Tensor:
        return encoding.pooled_BD

    def scorer_options(self) -> dict[str, Any]:
        c = self.config
        return {"num_folds": c.num_folds, "num_neighbours": c.num_neighbours, "across": c.across}


TASK = Probe
