"""CTC by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sonolex.objectives.ctc import ctc_steps, ctc_sum
from sonolex.types import Padded


def test_one_letter_over_two_steps_by_hand():
    """Three paths write "a" in two steps: a a, a blank, blank a. The end token is not written."""
    share = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])  # of blank, a and </s> at each step
    real = torch.ones(2, 2, dtype=torch.bool)
    logits, letters = Padded.of(share.log().expand(2, 2, 3), real), Padded.of(torch.tensor([[1, 2], [1, 2]]), real)
    loss = ctc_sum(logits, letters, (0,), blank=0)
    assert loss.item() == pytest.approx(-math.log(0.3 * 0.6 + 0.3 * 0.1 + 0.5 * 0.6), rel=1e-5)
    assert ctc_sum(logits, letters, (), blank=0).item() == 0


def test_padding_changes_nothing_of_a_clips_loss():
    torch.manual_seed(0)
    logits, letters = torch.randn(1, 5, 4), torch.tensor([[1, 2, 3]])
    valid, real = torch.ones(1, 5, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    alone = ctc_sum(Padded.of(logits, valid), Padded.of(letters, real), (0,), blank=0)
    logits, valid = F.pad(logits, (0, 0, 0, 3)), F.pad(valid, (0, 3))
    letters, real = F.pad(letters, (0, 2)), F.pad(real, (0, 2))
    longer = ctc_sum(Padded.of(logits, valid), Padded.of(letters, real), (0,), blank=0)
    assert longer.item() == pytest.approx(alone.item(), rel=1e-5)


@pytest.mark.parametrize(("letters", "steps"), [([5], 1), ([5, 6, 6], 4), ([7, 7, 7], 5)])
def test_equal_neighbours_need_a_blank_between_them(letters, steps):
    assert ctc_steps(torch.tensor(letters)) == steps
