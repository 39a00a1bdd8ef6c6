"""One vector per clip from a sequence of states. Padding never counts; an empty sequence gives zeros."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def masked_mean(x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """Return the mean over valid positions, (B, D)."""
    weight_BT1 = valid_BT[..., None].to(x_BTD.dtype)
    return (x_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp_min(1.0)


def masked_mean_std(x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """Return mean and standard deviation over valid positions, (B, 2D)."""
    mean_BD = masked_mean(x_BTD, valid_BT)
    variance_BD = masked_mean((x_BTD - mean_BD[:, None]).square(), valid_BT)
    return torch.cat([mean_BD, (variance_BD + 1e-6).sqrt() * valid_BT.any(1, keepdim=True)], -1)


def masked_max(x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """Return the maximum over valid positions, (B, D). Works in any float type (the fill is the type's own minimum)."""
    lowest = torch.finfo(x_BTD.dtype).min
    largest_BD = x_BTD.masked_fill(~valid_BT[..., None], lowest).amax(1)
    return largest_BD * valid_BT.any(1, keepdim=True)


def mean_of_present(vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
    """Return each clip's mean (B, D) over its vectors (B, D) that are ``present`` (B, 1)."""
    total_BD = torch.stack([x_BD * is_B1 for x_BD, is_B1 in zip(vectors, present, strict=True)]).sum(0)
    return total_BD / torch.stack(list(present)).sum(0)


def at(x_BTD: Tensor, places_BN: Tensor) -> Tensor:
    """Return each row's values at its own places, (B, N, D)."""
    return x_BTD.gather(1, places_BN[..., None].expand(-1, -1, x_BTD.shape[-1]))


class AttentionPool(nn.Module):
    """softmax(v · tanh(W h)) weighted sum of h. Source: CTAL section 3.3."""

    def __init__(self, width: int):
        super().__init__()
        self.project = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        score_BT = self.score(torch.tanh(self.project(x_BTD)))[..., 0].float()
        score_BT = score_BT.masked_fill(~valid_BT, torch.finfo(torch.float32).min)
        weight_BT = torch.softmax(score_BT, 1).to(x_BTD.dtype) * valid_BT
        return torch.einsum("bt,btd->bd", weight_BT, x_BTD)
