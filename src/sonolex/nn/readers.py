"""One vector per clip from the layers of an encoder: which layers count, and how their steps become one vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sonolex.nn.pooling import AttentionPool, masked_max, masked_mean
from sonolex.nn.recurrent import states_of

READERS = ("mean", "max", "attention", "gru")


class SequenceReader(nn.Module):
    """Mean, maximum, attention or the last state of a GRU, of the last layer or of a learned weighted sum of all.

    The weighted sum is SUPERB's (Yang et al. 2021): softmax weights over the embedded input and every layer's output.
    """

    def __init__(self, width: int, num_layers: int, *, reader: str = "mean", weighted: bool = False):
        super().__init__()
        if reader not in READERS:
            raise ValueError(f"`reader` must be one of {', '.join(READERS)}, but is {reader!r}.")
        self.reader = reader
        self.layer_weight = nn.Parameter(torch.zeros(num_layers + 1)) if weighted else None
        self.attention = AttentionPool(width) if reader == "attention" else None
        self.gru = nn.GRU(width, width, batch_first=True) if reader == "gru" else None

    def forward(self, layers: Sequence[Tensor], valid_BT: Tensor) -> Tensor:
        """Return (B, D) from the states (B, T, D) before and after every layer; zeros for an empty row."""
        x_BTD = layers[-1]
        if self.layer_weight is not None:
            x_BTD = torch.einsum("n,nbtd->btd", torch.softmax(self.layer_weight, 0), torch.stack(list(layers)))
        if self.attention is not None:
            return self.attention(x_BTD, valid_BT)
        if self.gru is not None:
            return states_of(self.gru, x_BTD, valid_BT)[1]
        return (masked_max if self.reader == "max" else masked_mean)(x_BTD, valid_BT)
