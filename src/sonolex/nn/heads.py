"""Heads: tokens, frames and classes from hidden states."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.dropout import Dropout


class TokenHead(nn.Module):
    """BERT's masked-token head: dense, GELU, LayerNorm, decoder tied to the token embedding, own bias."""

    def __init__(self, width: int, vocab_size: int, *, eps: float):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x_ND: Tensor, embedding_VD: Tensor) -> Tensor:
        """Return logits (N, V) for N chosen positions."""
        return F.linear(self.norm(F.gelu(self.dense(x_ND))), embedding_VD, self.bias)


class FrameHead(nn.Module):
    """Dense, GELU, LayerNorm, linear to spectral frames."""

    def __init__(self, width: int, num_outputs: int, *, eps: float):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.out = nn.Linear(width, num_outputs)

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return (N, outputs)."""
        return self.out(self.norm(F.gelu(self.dense(x_ND))))


class ClassHead(nn.Module):
    """Linear to classes or values; before it, optionally: LayerNorm ("layer"), dropout, a GELU hidden layer."""

    def __init__(self, width: int, num_outputs: int, *, norm: str = "none", hidden: int = 0, dropout: float = 0.0):
        super().__init__()
        if norm not in ("none", "layer"):
            raise ValueError(f"`norm` must be none or layer, but is {norm!r}.")
        self.norm = nn.LayerNorm(width) if norm == "layer" else None
        self.dropout = Dropout(dropout)
        self.hidden = nn.Linear(width, hidden) if hidden else None
        self.out = nn.Linear(hidden or width, num_outputs)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Return (B, outputs)."""
        x = self.dropout(pooled_BD if self.norm is None else self.norm(pooled_BD))
        if self.hidden is not None:
            x = F.gelu(self.hidden(x))
        return self.out(x)


class Temperature(nn.Module):
    """A learned temperature, kept positive by its logarithm."""

    def __init__(self, start: float):
        super().__init__()
        self.log = nn.Parameter(torch.tensor(start).log())

    def forward(self) -> Tensor:
        """Return the temperature."""
        return self.log.exp()
