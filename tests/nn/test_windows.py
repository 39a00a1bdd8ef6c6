"""Windows of clips: where they start, their mean and their states in one row, with and without known lengths."""

from __future__ import annotations

import pytest
import torch

from sonolex.nn.windows import Windows
from sonolex.types import Padded

LENGTHS = (25, 0, 7, 20, 10, 21)


def clips(lengths=LENGTHS):
    values = torch.randn(len(lengths), max(lengths), 3)
    return Padded.of(values, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])


def test_every_place_is_in_a_window_and_the_last_one_ends_with_the_clip():
    windows = Windows.over(clips(), 10)
    assert windows.owners_N.tolist() == [0, 0, 0, 1, 2, 3, 3, 4, 5, 5, 5]
    assert windows.starts_N.tolist() == [0, 10, 15, 0, 0, 0, 10, 0, 0, 10, 11]
    assert windows.lengths == (10, 10, 10, 0, 7, 10, 10, 10, 10, 10, 10) and windows.valid_N.all()


def test_a_window_has_the_values_of_its_place():
    rows = clips()
    windows = Windows.over(rows, 10)
    cut = windows.cut(rows)
    assert torch.equal(cut.values[2], rows.values[0, 15:25]) and torch.equal(cut.values[10], rows.values[5, 11:21])
    assert cut.valid.sum(1).tolist() == list(cut.lengths)
    assert windows.repeated(rows).values[:4, 0].equal(rows.values[[0, 0, 0, 1], 0])


def test_windows_are_averaged_by_clip_and_chained_in_order():
    windows = Windows.over(clips((25, 7)), 10)
    assert windows.averaged(torch.tensor([[1.0], [2.0], [6.0], [4.0]])).tolist() == [[3.0], [4.0]]
    states = torch.arange(8.0).view(4, 2, 1)
    chained, valid = windows.chained(states, torch.tensor([[True, True]] * 3 + [[True, False]]))
    assert chained[valid].flatten().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert valid.tolist() == [[True] * 6, [True] + [False] * 5]


@pytest.mark.parametrize("size", [5, 10, 24, 25, 40])
def test_windows_that_no_clip_has_change_nothing(size):
    rows = clips()

    def through(rows):
        windows = Windows.over(rows, size)
        cut = windows.cut(rows)
        chained, valid = windows.chained(cut.values, cut.valid)
        return windows.averaged(cut.values), chained[valid], valid

    for found, expected in zip(through(rows._replace(lengths=None)), through(rows), strict=True):
        assert torch.equal(found, expected)


def test_clips_of_one_window_are_not_copied():
    rows = clips()
    windows = Windows.over(rows, 25)
    assert windows.single and windows.cut(rows) is rows and windows.averaged(rows.values) is rows.values
