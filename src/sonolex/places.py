"""Places of a padded batch by number: the real ones, or the chosen ones, without padding and without a mask.

Place b · T + t is position t of row b of a tensor (B, T, …). Indexing by a boolean mask waits until the device
has counted its rows; place numbers are computed once, on the CPU, while the batch is built.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def places_of(lengths: Sequence[int], longest: int) -> Tensor:
    """Return the places of rows of these lengths in a tensor (B, ``longest``, …), row by row, on the CPU.

    >>> places_of((2, 0, 1), 3)
    tensor([0, 1, 6])
    """
    lengths_B, number = torch.tensor(lengths, dtype=torch.int64), sum(lengths)
    firsts_B = torch.arange(len(lengths)) * longest - (lengths_B.cumsum(0) - lengths_B)
    return torch.arange(number) + firsts_B.repeat_interleave(lengths_B, output_size=number)


def places_where(chosen_BT: Tensor) -> Tensor:
    """Return the places where a mask on the CPU is True, row by row.

    >>> places_where(torch.tensor([[False, True], [True, True]]))
    tensor([1, 2, 3])
    """
    return chosen_BT.flatten().nonzero()[:, 0]


def at_places(x_BTD: Tensor, places_N: Tensor) -> Tensor:
    """Return the values at these places, (N, …)."""
    return x_BTD.flatten(0, 1).index_select(0, places_N)


def put_at_places(x_ND: Tensor, places_N: Tensor, valid_BT: Tensor) -> Tensor:
    """Return a tensor (B, T, …) with these rows at their places and zeros elsewhere, in the shape of a mask."""
    batch, longest = valid_BT.shape
    flat = x_ND.new_zeros(batch * longest, *x_ND.shape[1:])
    return flat.index_copy(0, places_N, x_ND).unflatten(0, (batch, longest))
