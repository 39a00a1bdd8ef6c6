"""Losses on chosen positions: cross-entropy, L1, MSE. All are sums, so that any grouping of clips has one mean."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy_sum(logits_NC: Tensor, targets_N: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the summed cross-entropy in float32."""
    return F.cross_entropy(logits_NC.float(), targets_N, reduction="sum", label_smoothing=label_smoothing)


def l1_sum(predicted_NF: Tensor, target_NF: Tensor) -> Tensor:
    """Return the summed absolute difference over positions and dimensions, in float32. CTAL's MCAM."""
    return (predicted_NF.float() - target_NF.float()).abs().sum()


def mse_sum(predicted_NF: Tensor, target_NF: Tensor) -> Tensor:
    """Return the summed squared difference over positions and dimensions, in float32."""
    return (predicted_NF.float() - target_NF.float()).square().sum()
