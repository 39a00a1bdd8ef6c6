"""Dropout on a CPU: sixteen random bits a value against torch's Bernoulli trials, alone and in a CTAL-tiny step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from benchmarks._timing import claim, interleaved, ratio, table
from benchmarks.ctal_step import spoken_batch, training_step
from sonolex.nn.dropout import Dropout
from sonolex.systems.base import build_system
from sonolex.systems.ctal import CtalConfig

CLIPS = 48


def run() -> None:
    seconds = interleaved({"torch": _pass(nn.Dropout(0.1)), "ours": _pass(Dropout(0.1))}, rounds=15)
    table(seconds)
    claim("dropout of 48 x 250 x 128 and back, bf16, over torch's", ratio(seconds, "ours", "torch"), 2.0)
    batch = spoken_batch(np.clip(np.random.default_rng(0).normal(2.3, 0.4, CLIPS), 1, 4))
    steps = {}
    for name in ("torch", "ours"):
        model = build_system("ctal", replace(CtalConfig.tiny(), vocab_size=30_000)).train()
        if name == "torch":
            _as_torch_draws(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
        steps[name] = lambda m=model, o=optimizer: training_step(m, o, batch, bf16=True)
    seconds = interleaved(steps, rounds=10)
    table(seconds)
    claim("CTAL-tiny step, bf16, over torch's dropout", ratio(seconds, "ours", "torch"), 1.05)


def _pass(dropout: nn.Module):
    x_BTD = torch.randn(CLIPS, 250, 128, dtype=torch.bfloat16, requires_grad=True)

    def forward_and_back() -> None:
        dropout(x_BTD).backward(x_BTD.detach())

    return forward_and_back


def _as_torch_draws(module: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Dropout):
                setattr(parent, name, nn.Dropout(child.p))
