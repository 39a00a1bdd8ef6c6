from __future__ import annotations

import math

import pytest
import torch

from sonolex.objectives import masked


def test_cross_entropy_of_even_logits_is_log_of_the_number_of_classes_per_row():
    assert masked.cross_entropy_sum(torch.zeros(3, 8), torch.tensor([0, 5, 7])).item() == pytest.approx(3 * math.log(8))


def test_l1_and_mse_by_hand_and_symmetric():
    a, b = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.0, 4.0], [0.0, 1.0]])
    assert masked.l1_sum(a, b).item() == masked.l1_sum(b, a).item() == 1 + 2 + 0 + 2
    assert masked.mse_sum(a, b).item() == masked.mse_sum(b, a).item() == 1 + 4 + 0 + 4


def test_sums_of_parts_are_the_sum_of_the_whole():
    logits, targets = torch.randn(9, 5), torch.randint(5, (9,))
    whole = masked.cross_entropy_sum(logits, targets)
    parts = masked.cross_entropy_sum(logits[:4], targets[:4]) + masked.cross_entropy_sum(logits[4:], targets[4:])
    assert torch.allclose(whole, parts)


def test_no_chosen_position_gives_zero_not_nan():
    assert masked.cross_entropy_sum(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long)).item() == 0
    assert masked.l1_sum(torch.zeros(0, 5), torch.zeros(0, 5)).item() == 0
