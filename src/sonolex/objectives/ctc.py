"""Connectionist temporal classification: letters written by the steps of a longer sequence (Graves et al. 2006)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def ctc_steps(letters_L: Tensor) -> int:
    """Return how many steps CTC needs to write these letters: one each, and a blank between equal ones.

    >>> import torch
    >>> ctc_steps(torch.tensor([5, 6, 6]))
    4
    """
    return len(letters_L) + int((letters_L[1:] == letters_L[:-1]).sum())


def ctc_sum(
    logits_BTV: Tensor, valid_BT: Tensor, letters_BL: Tensor, letters_valid_BL: Tensor, chosen_B: Tensor, *, blank: int
) -> Tensor:
    """Return the summed CTC loss of writing the chosen clips' letters, without their end token, in float32."""
    log_BTV = logits_BTV.float().log_softmax(-1)
    if not chosen_B.any():
        return 0 * log_BTV.sum()
    steps_N, letters_N = valid_BT.sum(1)[chosen_B], letters_valid_BL.sum(1)[chosen_B] - 1
    log_TNV = log_BTV[chosen_B].transpose(0, 1)
    return F.ctc_loss(log_TNV, letters_BL[chosen_B], steps_N, letters_N, blank=blank, reduction="none").sum()
