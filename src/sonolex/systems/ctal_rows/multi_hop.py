"""Multi-hop attention (MHA; Yoon, Byun, Dey and Jung, ICASSP 2019): a baseline of CTAL's table 1.

What the audio's last state finds in the words asks the audio what belongs to it, and so on: each hop looks from the
last finding into the other modality. A clip's vector is the last two findings.

Differs: CTAL's log-mel in place of MFCC with prosodic features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sonolex.nn.recurrent import recurrent, states_of
from sonolex.systems.ctal_rows.base import RecurrentConfig, RecurrentSystem
from sonolex.types import Batch, Encoding

MOST_HOPS = 100  # each costs time and has no weights of its own that would vouch for it


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
        findings = [states["audio"][1]]
        for hop in range(self.config.num_hops):
            name = ("text", "audio")[hop % 2]
            findings.append(found_in(states[name][0], valid[name], findings[-1]))
        return Encoding(torch.cat(findings[-2:], -1), {n: s[0] for n, s in states.items()}, valid)

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        return {"text": [self.words, self.text], "audio": [self.audio]}


def found_in(states_BTD: Tensor, valid_BT: Tensor, asked_BD: Tensor) -> Tensor:
    """Return the mean of states (B, D), weighted by the softmax of their products with what is asked."""
    scores_BT = torch.einsum("btd,bd->bt", states_BTD, asked_BD).float()
    weights_BT = torch.softmax(scores_BT.masked_fill(~valid_BT, torch.finfo(torch.float32).min), 1)
    return torch.einsum("bt,btd->bd", weights_BT.to(states_BTD.dtype), states_BTD)


SYSTEM = MultiHop
