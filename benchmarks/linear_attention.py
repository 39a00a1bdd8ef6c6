"""Attention over 256 to 4096 patches: random features against exact attention, cost and error."""

from __future__ import annotations

import torch

from benchmarks._timing import interleaved, table
from sonolex.nn.linear_attention import RandomFeatureAttention, exact_counterpart
from sonolex.nn.transformer import SelfAttention, attends_to_valid

WIDTH, HEADS, FEATURES = 384, 6, 128
LENGTHS = (256, 512, 1024, 2048, 4096)


def run() -> None:
    torch.manual_seed(0)
    exact, linear = SelfAttention(WIDTH, HEADS), RandomFeatureAttention(WIDTH, HEADS, num_features=FEATURES)
    for length in LENGTHS:
        x = torch.randn(1, length, WIDTH)
        attends = attends_to_valid(torch.ones(1, length, dtype=torch.bool))
        cases = {
            f"exact, {length} patches": lambda x=x, a=attends: exact(x, a).square().mean().backward(),
            f"random features, {length} patches": lambda x=x, a=attends: linear(x, a).square().mean().backward(),
        }
        table(interleaved(cases, rounds=5))
    x = torch.randn(1, 512, WIDTH)
    attends = attends_to_valid(torch.ones(1, 512, dtype=torch.bool))
    for features in (32, 128, 512, 2048):
        layer = RandomFeatureAttention(WIDTH, HEADS, num_features=features)
        torch.nn.init.eye_(layer.out.weight)
        torch.nn.init.zeros_(layer.out.bias)
        with torch.no_grad():
            query, key, value = layer.qkv(x).view(1, 512, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
            truth = exact_counterpart(query, key, value, temperature=layer.temperature)
            ours = layer(x, attends).view(1, 512, HEADS, -1).transpose(1, 2)
        print(f"  {features:5} features: relative error {float((ours - truth).norm() / truth.norm()):.3f}")
