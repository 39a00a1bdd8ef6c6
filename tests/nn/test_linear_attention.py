from __future__ import annotations

import pytest
import torch

from sonolex.nn.linear_attention import RandomFeatureAttention, exact_counterpart
from sonolex.nn.transformer import attends_to_valid


def made(num_features: int) -> RandomFeatureAttention:
    torch.manual_seed(0)
    return RandomFeatureAttention(32, 4, num_features=num_features)


def error(num_features: int) -> float:
    """Relative error against the exact kernel, before the output projection."""
    layer = made(num_features)
    torch.nn.init.eye_(layer.out.weight)
    torch.nn.init.zeros_(layer.out.bias)
    x = torch.randn(2, 40, 32)
    query, key, value = layer.qkv(x).view(2, 40, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
    exact = exact_counterpart(query, key, value, temperature=layer.temperature).transpose(1, 2).reshape(2, 40, 32)
    ours = layer(x, attends_to_valid(torch.ones(2, 40, dtype=torch.bool)))
    return ((ours - exact).norm() / exact.norm()).item()


def test_more_features_come_closer_to_exact_attention():
    errors = [error(n) for n in (16, 256, 16_384)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.15


def test_padding_changes_nothing():
    layer = made(64)
    x, valid = torch.randn(2, 12, 32), torch.ones(2, 12, dtype=torch.bool)
    valid[1, 7:] = False
    together = layer(x, attends_to_valid(valid))
    assert torch.allclose(together[1:, :7], layer(x[1:, :7], attends_to_valid(valid[1:, :7])), atol=1e-5)
    changed = x.clone()
    changed[1, 7:] = 9.0
    assert torch.allclose(together[1, :7], layer(changed, attends_to_valid(valid))[1, :7], atol=1e-5)


def test_a_mask_by_query_is_refused():
    with pytest.raises(ValueError, match="masked by query"):
        made(8)(torch.randn(1, 5, 32), attends_to_valid(torch.ones(1, 5, dtype=torch.bool), causal=True))
