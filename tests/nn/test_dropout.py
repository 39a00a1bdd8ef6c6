"""Dropout from random bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sonolex.nn.dropout import Dropout, replace_dropout


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.003])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_many_values_are_dropped_as_asked_and_the_mean_stays(probability, dtype):
    torch.manual_seed(0)
    x = torch.ones(1001, 999, dtype=dtype)  # no multiple of what is drawn at once
    out = Dropout(probability)(x)
    dropped = (out == 0).float().mean().item()
    spread = (probability * (1 - probability) / x.numel()) ** 0.5
    assert dropped == pytest.approx(probability, abs=5 * spread) and out.dtype == dtype
    assert (out[out != 0].float() - 1 / (1 - probability)).abs().max() < 1e-2
    alike = (out == 0).float()
    assert (alike[:, 1:] * alike[:, :-1]).mean().item() == pytest.approx(probability**2, abs=5 * spread)


def test_a_seed_repeats_it_and_gradients_go_where_values_went():
    x = torch.randn(7, 5, requires_grad=True)
    outs = []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(Dropout(0.5)(x))
    assert torch.equal(*outs) and not torch.equal(outs[0], Dropout(0.5)(x))
    outs[0].sum().backward()
    assert torch.equal(x.grad == 0, outs[0] == 0) and x.grad.max() == 2


def test_nothing_is_dropped_in_evaluation_or_at_nought_and_everything_at_one():
    x = torch.randn(4, 3)
    assert Dropout(0.5).eval()(x) is x and torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(4, 3)) and Dropout(0.5)(x[:0]).shape == (0, 3)


def test_another_librarys_dropout_is_replaced_wherever_it_lies():
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.2), Dropout(0.3)))
    replace_dropout(module)
    assert [(type(m), m.p) for m in module.modules() if isinstance(m, nn.Dropout)] == [(Dropout, 0.2), (Dropout, 0.3)]
