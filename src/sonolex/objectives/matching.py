"""Do these words and this sound belong together? Pairs of clips and their mismatches (SAP, SpectroBERT section 2.3.3).

The mismatched audio is drawn by the loader from all training clips (`sonolex.data.loader.Loading.partners`), not from
the batch, so that batch size and order change nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def with_partners(
    audio_BT: Tensor, valid_BT: Tensor, partner_BT: Tensor | None, partner_valid_BT: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return audio and validity with every partner in the place of the clip's own, and matched_B.

    Args:
        audio_BT: frames (B, T, F) or samples (B, S).
        partner_valid_BT: an all-False row where a clip has no partner.
    """
    size = len(audio_BT)
    if partner_BT is None or partner_valid_BT is None:
        return audio_BT, valid_BT, torch.ones(size, dtype=torch.bool)
    matched_B = ~partner_valid_BT.any(1)
    longest = max(audio_BT.shape[1], partner_BT.shape[1])
    audio_BT, partner_BT = _lengthened(audio_BT, longest), _lengthened(partner_BT, longest)
    valid_BT, partner_valid_BT = _lengthened(valid_BT, longest), _lengthened(partner_valid_BT, longest)
    choose_B = matched_B.view(-1, *[1] * (audio_BT.ndim - 1))
    audio_BT = torch.where(choose_B, audio_BT, partner_BT)
    valid_BT = torch.where(matched_B[:, None], valid_BT, partner_valid_BT)
    used = max(1, int(valid_BT.sum(1).max()))
    return audio_BT[:, :used], valid_BT[:, :used], matched_B


def match_loss_sum(logits_N: Tensor, matched_N: Tensor) -> Tensor:
    """Return the summed binary cross-entropy of "these belong together", in float32."""
    return F.binary_cross_entropy_with_logits(logits_N.float(), matched_N.float(), reduction="sum")


def _lengthened(rows_BT: Tensor, longest: int) -> Tensor:
    short = longest - rows_BT.shape[1]
    return F.pad(rows_BT, (0, 0) * (rows_BT.ndim - 2) + (0, short)) if short else rows_BT
