"""Losses on chosen positions: cross-entropy, L1, MSE. All are sums, so that any grouping of clips has one mean."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sonolex.places import at_places


def cross_entropy_sum(logits_NC: Tensor, targets_N: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the summed cross-entropy in float32."""
    return F.cross_entropy(logits_NC.float(), targets_N, reduction="sum", label_smoothing=label_smoothing)


def l1_sum(predicted_NF: Tensor, target_NF: Tensor) -> Tensor:
    """Return the summed absolute difference over positions and dimensions, in float32. CTAL's MCAM."""
    return (predicted_NF.float() - target_NF.float()).abs().sum()


def mse_sum(predicted_NF: Tensor, target_NF: Tensor) -> Tensor:
    """Return the summed squared difference over positions and dimensions, in float32."""
    return (predicted_NF.float() - target_NF.float()).square().sum()


def patch_info_nce_sum(
    predicted_BPK: Tensor, target_BPK: Tensor, chosen_BP: Tensor, chosen_N: Tensor, *, axis: str
) -> Tensor:
    """Return the summed InfoNCE of chosen patches against the other chosen patches of their clip, in float32.

    ``axis="paper"`` (SSAST eq. 1): each prediction is compared with all chosen patches; "code": each patch with all
    predictions, as the released code does. A clip with n chosen patches starts at n · ln n.

    Args:
        chosen_N: the places of ``chosen_BP`` (`sonolex.places`).

    Raises:
        ValueError: an unknown axis.
    """
    if axis not in ("paper", "code"):
        raise ValueError(f"`axis` must be paper or code, but is {axis!r}.")
    with torch.autocast(predicted_BPK.device.type, enabled=False):  # autocast would take half precision
        scores_BPP = predicted_BPK.float() @ target_BPK.float().transpose(1, 2)
    scores_BPP = scores_BPP if axis == "paper" else scores_BPP.transpose(1, 2)
    scores_BPP = scores_BPP.masked_fill(~chosen_BP[:, None], torch.finfo(torch.float32).min)
    own_BP = torch.diagonal(scores_BPP, dim1=1, dim2=2)
    return at_places(torch.logsumexp(scores_BPP, -1) - own_BP, chosen_N).sum()
