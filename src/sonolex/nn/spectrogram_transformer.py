"""Parts of AST's network (Gong et al. 2021), for AST, SSAST and VCR-AST: layers, pooling, patchout.

The input is `sonolex.nn.embeddings.PatchEmbedding`: class and distillation token first, then a clip's patches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sonolex.nn.dropout import random_numbers
from sonolex.nn.embeddings import kept_places
from sonolex.nn.linear_attention import RandomFeatureAttention
from sonolex.nn.pooling import masked_mean, masked_mean_std
from sonolex.nn.transformer import PreNormLayer, attends_to_valid
from sonolex.types import Padded

SPECIAL_TOKENS = 2
"""Class and distillation token, before the patches."""


def pre_norm_layers(
    num_layers: int,
    width: int,
    num_heads: int,
    ffn_width: int,
    *,
    dropout: float,
    attention_dropout: float,
    eps: float,
    num_random_features: int = 0,
) -> nn.ModuleList:
    """Return ViT's layers; with ``num_random_features`` a head, attention is linear in the number of patches."""
    return nn.ModuleList(
        PreNormLayer(
            width,
            num_heads,
            ffn_width,
            attention=RandomFeatureAttention(width, num_heads, num_features=num_random_features)
            if num_random_features
            else None,
            dropout=dropout,
            attention_dropout=attention_dropout,
            eps=eps,
        )
        for _ in range(num_layers)
    )


def final_states(layers: Iterable[nn.Module], norm: nn.Module, x_BPD: Tensor, valid_BP: Tensor) -> Tensor:
    """Return the normalised states of embedded patches after all layers."""
    attends_B1PP = attends_to_valid(valid_BP)
    for layer in layers:
        x_BPD = layer(x_BPD, attends_B1PP)
    return norm(x_BPD)


def pooled_states(states_BPD: Tensor, valid_BP: Tensor, *, pool: str) -> Tensor:
    """Return one vector per clip: "tokens" is the mean of class and distillation token, "mean" that of the patches,
    "mean_std" the patches' mean and deviation.
    """
    if pool == "tokens":
        return states_BPD[:, :SPECIAL_TOKENS].mean(1)
    patches_BPD, patches_valid_BP = states_BPD[:, SPECIAL_TOKENS:], valid_BP[:, SPECIAL_TOKENS:]
    return (masked_mean if pool == "mean" else masked_mean_std)(patches_BPD, patches_valid_BP)


def kept_patches(valid_BP: Tensor, share: float) -> Padded | None:
    """Return a random share of each clip's patches, at least one (patchout, Koutini et al. 2022); None for all."""
    if share == 1:
        return None
    drawn_BP = random_numbers(valid_BP).masked_fill(~valid_BP, torch.iinfo(torch.int64).max)
    count_B1 = (valid_BP.sum(1, keepdim=True).double() * share).ceil()
    keep_BP = (drawn_BP.argsort(1).argsort(1) < count_B1) & valid_BP
    return kept_places(keep_BP, math.ceil(valid_BP.shape[1] * share))
