"""Attention as the released networks compute it: three projections, and softmax(QKᵀ)V with dropout written out."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.dropout import Dropout
from sonolex.nn.transformer import CrossAttention, SelfAttention, attends_to_valid


def as_released(model: nn.Module) -> nn.Module:
    """Give every attention layer of a model the released form, and every dropout torch's; the weights stay."""
    for part in model.modules():
        if isinstance(part, SelfAttention):
            part.__class__ = _ReleasedSelfAttention
        elif isinstance(part, CrossAttention):
            part.__class__ = _ReleasedCrossAttention
        elif isinstance(part, Dropout):
            part.__class__ = _ReleasedDropout
    return model


class _ReleasedDropout(Dropout):
    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)


class _ReleasedSelfAttention(SelfAttention):
    def forward(self, x_BTD: Tensor, attends_B1TT: Tensor) -> Tensor:
        parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        query, key, value = (_heads(F.linear(x_BTD, w, b), self.num_heads) for w, b in parts)
        return self.out(_attend(query, key, value, attends_B1TT, self.dropout.p, self.training))


class _ReleasedCrossAttention(CrossAttention):
    def forward(self, x_BTD: Tensor, other_BLD: Tensor, other_valid_BL: Tensor) -> Tensor:
        parts = zip(self.key_value.weight.chunk(2), self.key_value.bias.chunk(2), strict=True)
        key, value = (_heads(F.linear(other_BLD, w, b), self.num_heads) for w, b in parts)
        query = _heads(self.query(x_BTD), self.num_heads)
        return self.out(_attend(query, key, value, attends_to_valid(other_valid_BL), self.dropout.p, self.training))


def _heads(x_BTD: Tensor, num_heads: int) -> Tensor:
    """(B, T, D) -> (B, heads, T, D / heads)."""
    return x_BTD.view(len(x_BTD), x_BTD.shape[1], num_heads, -1).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, attends: Tensor, dropout: float, training: bool) -> Tensor:
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    shares = F.dropout(scores.masked_fill(~attends, -math.inf).softmax(-1), dropout, training)
    return (shares @ value).transpose(1, 2).flatten(2)
