"""Multi-hop attention (MHA; Yoon, Byun, Dey and Jung, ICASSP 2019): a baseline of CTAL's table 1.

The audio's last state attends to the words, the result attends to the audio, and so on: each hop's context vector is
the next hop's query. A clip's vector is the last two of them.

Differs: CTAL's log-mel in place of MFCC with prosodic features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sonolex.nn.recurrent import recurrent, states_of
from sonolex.systems.ctal_rows.base import RecurrentConfig, RecurrentSystem
from sonolex.types import Batch, Encoding

MOST_HOPS = 100  # a hop costs time but has no weights, so any config could claim many


@dataclass(frozen=True)
class MultiHopConfig(RecurrentConfig):
    """Sizes.

    Attributes:
        num_hops: 1 to 3 published; 2 was best.
    """

    num_hops: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.num_hops <= MOST_HOPS:
            raise ValueError(f"`num_hops` must be 1 to {MOST_HOPS}, but is {self.num_hops}.")


class MultiHop(RecurrentSystem):
    """Two bidirectional GRUs, and attention from one to the other in turn."""

    name = "multi_hop"
    config_type = MultiHopConfig
    config: MultiHopConfig

    def __init__(self, config: MultiHopConfig):
        super().__init__(config)
        c = config
        self.audio = recurrent(nn.GRU, c.num_features * c.frames_per_step, c.width, both_ways=True)
        self.text = recurrent(nn.GRU, c.width, c.width, both_ways=True)

    def encode(self, batch: Batch) -> Encoding:
        inputs = self.inputs(batch)
        states = {"audio": states_of(self.audio, *inputs["audio"]), "text": states_of(self.text, *inputs["text"])}
        valid = {name: pair[1] for name, pair in inputs.items()}
        contexts = [states["audio"][1]]
        for hop in range(self.config.num_hops):
            name = ("text", "audio")[hop % 2]
            contexts.append(found_in(states[name][0], valid[name], contexts[-1]))
        return Encoding(torch.cat(contexts[-2:], -1), {n: s[0] for n, s in states.items()}, valid)

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        return {"text": [self.words, self.text], "audio": [self.audio]}


def found_in(states_BTD: Tensor, valid_BT: Tensor, asked_BD: Tensor) -> Tensor:
    """Return the context vector (B, D): the mean of states, weighted by the softmax of their products with a query."""
    scores_BT = torch.einsum("btd,bd->bt", states_BTD, asked_BD).float()
    weights_BT = torch.softmax(scores_BT.masked_fill(~valid_BT, torch.finfo(torch.float32).min), 1)
    return torch.einsum("bt,btd->bd", weights_BT.to(states_BTD.dtype), states_BTD)


SYSTEM = MultiHop
