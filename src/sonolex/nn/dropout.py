"""Dropout at less than half of torch's cost on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DRAWN_AT_ONCE = 4  # chances of 16 bits in a random number of 64
CHANCES = 2**16


class Dropout(nn.Dropout):
    """`nn.Dropout`, which on a CPU compares 16 random bits a value with the probability.

    torch draws a float for each value there, which takes a sixth of a training step of small networks and more of those
    with many dropouts. The probability is rounded to a multiple of 1/65536.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0 or self.inplace or input.device.type != "cpu":
            return super().forward(input)
        kept = _chances(input) >= round(self.p * CHANCES) - CHANCES // 2
        return input * (kept * (1 / (1 - self.p) if self.p < 1 else 0.0)).to(input.dtype)


def replace_dropout(module: nn.Module) -> None:
    """Put `Dropout` in the place of `nn.Dropout` inside a module that another library built."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, child.inplace))


def _chances(like: Tensor) -> Tensor:
    """Return random numbers of -32768 to 32767 in the shape of a tensor."""
    numbers = torch.empty(-(-like.numel() // DRAWN_AT_ONCE), dtype=torch.int64).random_(-(2**63), None)
    return numbers.view(torch.int16)[: like.numel()].view(like.shape)
