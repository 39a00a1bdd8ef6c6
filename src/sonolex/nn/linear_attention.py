"""Attention whose cost grows with the length and not with its square: random feature attention.

Source: Peng et al. 2021, which VCR-AST section 5.8.1 proposes as future work. Queries and keys are normalised, so that
exp(q·k / σ²) is e^(1/σ²) times a Gaussian kernel of q − k, and the kernel is the mean of cosines of random projections:
exp(q·k / σ²) ∝ E[cos(w·q) cos(w·k) + sin(w·q) sin(w·k)], w ~ N(0, σ⁻² I).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_SUM = 1e-2  # the estimate of a sum of positive numbers may be 0 or below; dividing by less explodes


class RandomFeatureAttention(nn.Module):
    """Multi-head self-attention by random features; takes the place of `sonolex.nn.transformer.SelfAttention`.

    Differs from softmax attention: queries and keys have length 1 and the temperature is fixed, so weights trained with
    one do not fit the other. Masks may hide keys, the same for all queries (padding); it cannot be causal.
    """

    def __init__(self, width: int, num_heads: int, *, num_features: int, temperature: float = 1.0):
        super().__init__()
        self.num_heads, self.temperature = num_heads, temperature
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.directions: Tensor
        directions = torch.randn(num_heads, num_features, width // num_heads) / temperature**0.5
        self.register_buffer("directions", directions)

    def forward(self, x_BTD: Tensor, attends_B11T: Tensor) -> Tensor:
        batch, num_frames, width = x_BTD.shape
        if attends_B11T.shape[-2] != 1:
            raise ValueError(
                "random feature attention must have one set of keys for all queries, but is masked by query."
            )
        qkv = self.qkv(x_BTD).view(batch, num_frames, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        # (B, heads, T, 2 * features)
        query, key = self._features(query), self._features(key) * attends_B11T.transpose(-1, -2)
        summed = torch.einsum("bhtf,bhtd->bhfd", key, value)
        mixed = torch.einsum("bhtf,bhfd->bhtd", query, summed)
        total = torch.einsum("bhtf,bhf->bht", query, key.sum(2))
        mixed = mixed / total.clamp_min(SMALLEST_SUM)[..., None]
        return self.out(mixed.transpose(1, 2).reshape(batch, num_frames, width))

    def _features(self, x: Tensor) -> Tensor:
        projected = torch.einsum("bhtd,hfd->bhtf", F.normalize(x, dim=-1), self.directions.to(x.dtype))
        scale = self.directions.shape[1] ** -0.5
        return torch.cat([projected.sin(), projected.cos()], -1) * scale


def exact_counterpart(query: Tensor, key: Tensor, value: Tensor, *, temperature: float) -> Tensor:
    """Return the attention that random features estimate: softmax of cosines over ``temperature``; (B, heads, T, D)."""
    scores = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-1, -2) / temperature
    return torch.softmax(scores, -1) @ value
