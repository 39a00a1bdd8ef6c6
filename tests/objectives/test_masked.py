from __future__ import annotations

import math

import pytest
import torch

from sonolex.objectives import masked
from sonolex.places import places_where


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


def info_nce(predicted, target, chosen, *, axis):
    return masked.patch_info_nce_sum(predicted, target, chosen, places_where(chosen), axis=axis).item()


def test_info_nce_of_two_patches_by_hand_along_either_axis():
    # Scores: prediction 1 · patches (2, 0), prediction 2 · patches (1, 1); a third patch is not chosen.
    predicted = torch.tensor([[[2.0, 0.0], [1.0, 1.0], [9.0, 9.0]]])
    target = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])
    chosen = torch.tensor([[True, True, False]])
    paper = info_nce(predicted, target, chosen, axis="paper")
    code = info_nce(predicted, target, chosen, axis="code")
    assert paper == pytest.approx(math.log(1 + math.exp(-2)) + math.log(2))
    assert code == pytest.approx(2 * math.log(1 + math.exp(-1)))


def test_info_nce_starts_at_ln_n_and_padding_changes_nothing():
    chosen = torch.tensor([[True, True, True, False], [True, False, False, False]])
    zeros = torch.zeros(2, 4, 5)
    loss = info_nce(zeros, zeros, chosen, axis="paper")
    assert loss == pytest.approx(3 * math.log(3))  # a clip with one chosen patch has nothing to compare with
    with pytest.raises(ValueError, match="axis"):
        info_nce(zeros, zeros, chosen, axis="both")


def test_autocast_does_not_take_info_nce_in_half_precision():
    torch.manual_seed(0)
    predicted, target, chosen = torch.randn(2, 6, 8), torch.randn(2, 6, 8), torch.ones(2, 6, dtype=torch.bool)
    plain = info_nce(predicted, target, chosen, axis="paper")
    with torch.autocast("cpu", torch.bfloat16):
        assert info_nce(predicted, target, chosen, axis="paper") == plain
