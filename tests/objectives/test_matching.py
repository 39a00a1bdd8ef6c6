"""Pairs of clips that belong together, and those that do not."""

from __future__ import annotations

import math

import pytest
import torch

from sonolex.objectives.matching import match_loss_sum, with_partners
from sonolex.types import Padded


def rows(longest, *lengths):
    return Padded.of(torch.randn(len(lengths), longest, 2), torch.arange(longest) < torch.tensor(lengths)[:, None])


@pytest.mark.parametrize("longest", [3, 9])
def test_a_partner_takes_the_place_of_the_clips_own_audio(longest):
    own, partners = rows(6, 4, 6, 0), rows(longest, 0, 3, 2)
    seen, matched = with_partners(own, partners)
    assert matched.tolist() == [True, False, False] and seen.lengths == (4, 3, 2)
    assert seen.values.shape == (3, 4, 2) and seen.valid.sum(1).tolist() == [4, 3, 2]
    assert torch.equal(seen.values[0], own.values[0, :4]) and torch.equal(seen.values[1, :3], partners.values[1, :3])


def test_without_partners_every_clip_has_its_own_audio():
    own = rows(6, 4, 6)
    seen, matched = with_partners(own, None)
    assert seen is own and matched.all()


def test_an_undecided_pair_costs_a_bit():
    assert match_loss_sum(torch.zeros(2), torch.tensor([True, False])).item() == pytest.approx(2 * math.log(2))
