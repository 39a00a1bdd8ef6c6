"""Self-attention, cross-attention to a second sequence, feed-forward, and encoder layers of the first and last.

Everything runs through `scaled_dot_product_attention`. A query that may look at nothing gets zeros, never NaN, so an
empty second sequence (a clip without transcript) is an ordinary input.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sonolex.nn.dropout import Dropout

FEW_KEYS = 128  # the fused kernel's backward pass is 5 times as slow at 20 keys, as fast at 150, half as slow at 400


def attends_to_valid(valid_BT: Tensor, *, causal: bool = False) -> Tensor:
    """Return attends_B1TT (or B11T): which keys each query may look at. A clip of padding only looks at itself."""
    keys_B1T = (valid_BT | ~valid_BT.any(1, keepdim=True))[:, None]
    if not causal:
        return keys_B1T[:, None]
    num_frames = valid_BT.shape[1]
    past_TT = torch.ones(num_frames, num_frames, dtype=torch.bool, device=valid_BT.device).tril()
    return (keys_B1T & past_TT)[:, None]


def attend(query: Tensor, key: Tensor, value: Tensor, attends: Tensor | None, *, dropout: Dropout) -> Tensor:
    """Return `scaled_dot_product_attention`, for training over few keys on a CPU by the kernel that is faster there.

    Where dropout depends on clips, attention is written out: no kernel takes a dropout mask.
    """
    if dropout.drops_by_clip:
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if attends is not None:
            scores = scores.masked_fill(~attends, torch.finfo(scores.dtype).min)
        return dropout(scores.softmax(-1)).to(value.dtype) @ value
    few = query.device.type == "cpu" and query.requires_grad and key.shape[-2] <= FEW_KEYS
    share = dropout.p if dropout.training else 0.0
    with sdpa_kernel(SDPBackend.MATH) if few else nullcontext():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=attends, dropout_p=share)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection."""

    def __init__(self, width: int, num_heads: int, *, dropout: float = 0.0):
        super().__init__()
        _require_divisible(width, num_heads)
        self.num_heads, self.dropout = num_heads, Dropout(dropout)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, attends_B1TT: Tensor) -> Tensor:
        batch, num_frames, width = x_BTD.shape
        # (B, T, 3D) -> 3 of (B, heads, T, D / heads)
        qkv = self.qkv(x_BTD).view(batch, num_frames, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attend(query, key, value, attends_B1TT, dropout=self.dropout)
        return self.out(mixed.transpose(1, 2).reshape(batch, num_frames, width))


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another; zeros for clips whose other sequence is empty."""

    def __init__(self, width: int, num_heads: int, *, dropout: float = 0.0):
        super().__init__()
        _require_divisible(width, num_heads)
        self.num_heads, self.dropout = num_heads, Dropout(dropout)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, other_BLD: Tensor, other_valid_BL: Tensor) -> Tensor:
        batch, num_frames, width = x_BTD.shape
        head = width // self.num_heads
        query = self.query(x_BTD).view(batch, num_frames, self.num_heads, head).transpose(1, 2)
        key_value = self.key_value(other_BLD).view(batch, -1, 2, self.num_heads, head)
        key, value = key_value.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attend(query, key, value, attends_to_valid(other_valid_BL), dropout=self.dropout)
        out_BTD = self.out(mixed.transpose(1, 2).reshape(batch, num_frames, width))
        return out_BTD * other_valid_BL.any(1)[:, None, None]


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x_BTD)))


class PostNormLayer(nn.Module):
    """Encoder layer of BERT and RoBERTa: x = LN(x + attention(x)); x = LN(x + FFN(x))."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        ffn_width: int,
        *,
        dropout: float,
        attention_dropout: float,
        eps: float,
    ):
        super().__init__()
        self.attention = SelfAttention(width, num_heads, dropout=attention_dropout)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.ffn = FeedForward(width, ffn_width)
        self.ffn_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, attends_B1TT: Tensor) -> Tensor:
        x_BTD = self.attention_norm(x_BTD + self.dropout(self.attention(x_BTD, attends_B1TT)))
        return self.ffn_norm(x_BTD + self.dropout(self.ffn(x_BTD)))


class PreNormLayer(nn.Module):
    """Encoder layer of ViT and AST: x = x + attention(LN(x)); x = x + FFN(LN(x)).

    ``attention`` takes the place of exact self-attention (`sonolex.nn.linear_attention`).
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        ffn_width: int,
        *,
        dropout: float,
        attention_dropout: float,
        eps: float,
        attention: nn.Module | None = None,
    ):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = attention or SelfAttention(width, num_heads, dropout=attention_dropout)
        self.ffn_norm = nn.LayerNorm(width, eps=eps)
        self.ffn = FeedForward(width, ffn_width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, attends_B1TT: Tensor) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.attention(self.attention_norm(x_BTD), attends_B1TT))
        return x_BTD + self.dropout(self.ffn(self.ffn_norm(x_BTD)))


def initialise_normal(module: nn.Module, *, std: float = 0.02) -> None:
    """Fill weights of linear, 1-D convolution and embedding layers from N(0, std²) and biases with 0, as BERT does.

    2-D convolutions keep torch's own start: with nine inputs a channel, N(0, 0.02²) would silence them.

    Draws from torch's default generator: build a system under `systems.base.seeded_build`.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
            if getattr(part, "bias", None) is not None:
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]


def initialise_truncated(module: nn.Module, *, std: float = 0.02) -> None:
    """Fill weights of linear layers from a normal distribution cut at ± 2, and biases with 0, as ViT and DeiT do."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _require_divisible(width: int, num_heads: int) -> None:
    if num_heads < 1 or width % num_heads:
        raise ValueError(f"`width` must be a multiple of num_heads ({num_heads}, at least 1), but is {width}.")
