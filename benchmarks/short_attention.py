"""Training attention over few keys: ours, which chooses the kernel, against torch's own choice on a CPU."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._timing import claim, interleaved, ratio, table
from sonolex.nn.dropout import Dropout
from sonolex.nn.transformer import FEW_KEYS, attend

HEADS, HEAD_WIDTH = 4, 32
SHAPES = ((64, 16), (32, 24), (288, 64), (32, 128), (32, 256))  # clips or blocks, keys


def run() -> None:
    torch.manual_seed(0)
    for rows, keys in SHAPES:
        parts = [torch.randn(rows, HEADS, keys, HEAD_WIDTH, dtype=torch.bfloat16).requires_grad_() for _ in range(3)]
        attends = torch.ones(rows, 1, 1, keys, dtype=torch.bool)
        attends[::3, ..., keys // 2 :] = False
        seconds = interleaved(
            {"ours": partial(_ours, parts, attends), "torch's choice": partial(_torch, parts, attends)}
        )
        table(seconds)
        if keys <= FEW_KEYS:
            claim(
                f"{rows} rows of {keys} keys, bf16, forward and backward", ratio(seconds, "ours", "torch's choice"), 1.0
            )


def _ours(parts: list[Tensor], attends: Tensor) -> None:
    query, key, value = parts
    attend(query, key, value, attends, dropout=Dropout(0.0)).float().square().mean().backward()


def _torch(parts: list[Tensor], attends: Tensor) -> None:
    query, key, value = parts
    F.scaled_dot_product_attention(query, key, value, attn_mask=attends).float().square().mean().backward()
