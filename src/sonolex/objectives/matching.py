"""Do these words and this sound belong together? Pairs of clips and their mismatches (SAP, SpectroBERT section 2.3.3).

The mismatched audio is drawn by the loader from all training clips (`sonolex.data.loader.Loading.partners`), not from
the batch, so that batch size and order change nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sonolex.types import Padded


def with_partners(audio: Padded, partners: Padded | None) -> tuple[Padded, Tensor]:
    """Return audio in which partners replace the clips' own audio, and matched_B; for tensors on the CPU.

    Args:
        audio: frames (B, T, F) or samples (B, S).
        partners: the same of other clips; an empty row where a clip has no partner.
    """
    if partners is None:
        return audio, torch.ones(len(audio.values), dtype=torch.bool)
    assert audio.lengths is not None and partners.lengths is not None
    lengths = tuple(partner or clip for clip, partner in zip(audio.lengths, partners.lengths, strict=True))
    longest, matched_B = max((1, *lengths)), torch.tensor(partners.lengths) == 0
    choose_B = matched_B.view(-1, *[1] * (audio.values.ndim - 1))
    chosen_BT = torch.where(choose_B, *(_of_length(x.values, longest) for x in (audio, partners)))
    return Padded(chosen_BT, torch.arange(longest) < torch.tensor(lengths)[:, None], lengths), matched_B


def match_loss_sum(logits_N: Tensor, matched_N: Tensor) -> Tensor:
    """Return the summed binary cross-entropy of "these belong together", in float32."""
    return F.binary_cross_entropy_with_logits(logits_N.float(), matched_N.float(), reduction="sum")


def _of_length(rows_BT: Tensor, length: int) -> Tensor:
    """Return rows padded or cut to ``length`` places."""
    return F.pad(rows_BT, (0, 0) * (rows_BT.ndim - 2) + (0, length - rows_BT.shape[1]))
