"""VICReg: variance, invariance and covariance of two views' vectors, and signs of a collapse.

Source: VICReg (Bardes et al. 2022) as VCR-AST section 4.3 uses it. Rows are clips, and every statistic is over all
rows: callers join the rows of accumulated batches and of all processes first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GAMMA = 1.0  # γ of eq. 4.1: the deviation below which a dimension is penalised
EPSILON = 1e-4  # ε of eq. 4.2, as in algorithm 1


def invariance(first_ND: Tensor, second_ND: Tensor, *, reduction: str) -> Tensor:
    """Return the mean squared distance of the views: over rows and width ("code"), over rows only ("paper").

    Differs from VCR-AST eq. 4.5, which is a misprint (the reciprocal of a sum); algorithm 1 has F.mse_loss.
    """
    distance = F.mse_loss(first_ND, second_ND)
    return distance if reduction == "code" else distance * first_ND.shape[1]


def variance(x_ND: Tensor) -> Tensor:
    """Return the mean over dimensions of max(0, γ − √(Var + ε)), Var with n − 1. VCR-AST eq. 4.1."""
    return F.relu(GAMMA - deviations(x_ND)).mean()


def covariance(x_ND: Tensor) -> Tensor:
    """Return the sum of squared off-diagonal covariances over the width, with n − 1. VCR-AST eq. 4.3 and 4.4.

    Σ C² is computed from the smaller of the two Gram matrices: for n rows of width D it costs min(n, D)² · max(n, D).
    """
    num_rows, width = x_ND.shape
    centred_ND = x_ND - x_ND.mean(0)
    gram = centred_ND @ centred_ND.T if num_rows < width else centred_ND.T @ centred_ND
    diagonal_D = centred_ND.square().sum(0)
    return (gram.square().sum() - diagonal_D.square().sum()) / ((num_rows - 1) ** 2 * width)


def deviations(x_ND: Tensor) -> Tensor:
    """Return √(Var + ε) of every dimension, Var with n − 1. VCR-AST eq. 4.2."""
    return (x_ND.var(0) + EPSILON).sqrt()


def terms(first_ND: Tensor, second_ND: Tensor, *, reduction: str) -> dict[str, Tensor]:
    """Return the three terms in float32, before their weights (25, 25, 1).

    ``reduction="code"`` averages the two views' variance terms and the invariance over the width, as algorithm 1
    does; "paper" sums the variance terms and keeps squared distances whole: weights differ by 2 and by the width.

    Raises:
        ValueError: fewer than two rows, or an unknown reduction.
    """
    if reduction not in ("code", "paper"):
        raise ValueError(f"`reduction` must be code or paper, but is {reduction!r}.")
    if len(first_ND) < 2:
        raise ValueError(f"VICReg must see at least 2 clips at once, but sees {len(first_ND)}. Raise the batch size.")
    first_ND, second_ND = first_ND.float(), second_ND.float()
    with torch.autocast(first_ND.device.type, enabled=False):  # autocast would take half precision
        return {
            "invariance": invariance(first_ND, second_ND, reduction=reduction),
            "variance": (variance(first_ND) + variance(second_ND)) * (0.5 if reduction == "code" else 1.0),
            "covariance": covariance(first_ND) + covariance(second_ND),
        }


def loss_floor(
    num_rows: int, width: int, *, variance_weight: float = 25.0, covariance_weight: float = 1.0, reduction: str = "code"
) -> float:
    """Return the least weighted variance + covariance that ``num_rows`` vectors of ``width`` can reach.

    The covariance of n rows has rank n − 1 at most, so its off-diagonal squares sum to at least k · width · s⁴ for
    common deviation s, with k = width / (n − 1) − 1. 21.19 at 12 × 4096, where VCR-AST stopped at 21.5 (table 5.4).

    >>> round(loss_floor(12, 4096), 2), round(loss_floor(2048, 8192), 2), loss_floor(300, 256)
    (21.19, 6.0, 0.0)
    """
    k = width / (num_rows - 1) - 1
    if k <= 0:
        return 0.0
    total_variance = variance_weight * (1.0 if reduction == "code" else 2.0)
    deviation = min(GAMMA, (total_variance / (8 * covariance_weight * k)) ** (1 / 3))
    return total_variance * (GAMMA - deviation) + 2 * covariance_weight * k * deviation**4


@torch.no_grad()
def spread(x_ND: Tensor) -> dict[str, Tensor]:
    """Return how much of its space a set of vectors uses; a collapse shows here before it shows in accuracy.

    ``std``: mean deviation of a dimension. ``rank``: eigenvalues of the covariance above 1e-4 of the largest.
    ``effective_dim``: exp of their entropy as shares. ``participation``: (Σλ)² / Σλ².
    """
    x_ND = x_ND.double()
    centred_ND = x_ND - x_ND.mean(0)
    rows_first = centred_ND if len(x_ND) <= x_ND.shape[1] else centred_ND.T
    values = torch.linalg.eigvalsh(rows_first @ rows_first.T).clamp_min(0)
    total = values.sum()
    shares = values / total
    entropy = -(shares * shares.clamp_min(1e-30).log()).sum()
    used = {
        "rank": (values > 1e-4 * values.max()).sum(),
        "effective_dim": entropy.exp(),
        "participation": total**2 / values.square().sum(),
    }
    std = centred_ND.square().sum(0).div(max(1, len(x_ND) - 1)).sqrt().mean()
    return {"std": std.float()} | {n: torch.where(total > 1e-20, v.float(), 0.0) for n, v in used.items()}
