"""Connectionist temporal classification: letters written by the steps of a longer sequence (Graves et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sonolex.types import Padded


def ctc_steps(letters_L: Tensor) -> int:
    """Return how many steps CTC needs to write these letters: one each, and a blank between equal ones.

    >>> import torch
    >>> ctc_steps(torch.tensor([5, 6, 6]))
    4
    """
    return len(letters_L) + int((letters_L[1:] == letters_L[:-1]).sum())


def ctc_sum(logits: Padded, letters: Padded, chosen: Sequence[int], *, blank: int) -> Tensor:
    """Return the summed CTC loss of writing the chosen clips' letters, without their end token, in float32.

    Args:
        logits: (B, T, V) of each step.
        letters: ids (B, L).
        chosen: rows whose letters fit into their steps.
    """
    assert logits.lengths is not None and letters.lengths is not None
    log_BTV = logits.values.float().log_softmax(-1)
    if not chosen:
        return 0 * log_BTV.sum()
    chosen_N = torch.tensor(chosen).to(log_BTV.device, non_blocking=True)
    log_TNV, letters_NL = log_BTV[chosen_N].transpose(0, 1), letters.values[chosen_N]
    sizes: Any = [logits.lengths[i] for i in chosen], [letters.lengths[i] - 1 for i in chosen]
    return F.ctc_loss(log_TNV, letters_NL, *sizes, blank=blank, reduction="none").sum()
