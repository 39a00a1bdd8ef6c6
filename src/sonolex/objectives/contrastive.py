"""NT-Xent between paired vectors.

Source: CALM eq. 2. Rows are clips, and the loss compares all rows with each other: callers join the rows of
accumulated batches and of all processes first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent_sum(
    anchors_ND: Tensor,
    positives_ND: Tensor,
    *,
    temperature: float | Tensor,
    same_NN: Tensor | None = None,
    denominator: str = "with_positive",
    symmetric: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return the summed −log(exp(s_ii/τ) / Σ_j exp(s_ij/τ)) of cosines s, in float32, and the number of rows.

    Args:
        same_NN: pairs that are not negatives of each other, e.g. clips with the same transcript.
        denominator: "with_positive" (NT-Xent), or "without_positive" (CALM eq. 2 as printed: j ≠ i, unbounded below).
        symmetric: average the loss from anchors to positives and back; False looks from the anchors only, as printed.

    A row without any negative is not counted.

    Raises:
        ValueError: an unknown denominator.
    """
    if denominator not in ("with_positive", "without_positive"):
        raise ValueError(f"`denominator` must be with_positive or without_positive, but is {denominator!r}.")
    own_NN = torch.eye(len(anchors_ND), dtype=torch.bool, device=anchors_ND.device)
    negative_NN = ~own_NN if same_NN is None else ~(own_NN | same_NN)
    counted_N = negative_NN.any(1)
    with torch.autocast(anchors_ND.device.type, enabled=False):  # autocast would take half precision
        scores_NN = F.normalize(anchors_ND.float(), dim=-1) @ F.normalize(positives_ND.float(), dim=-1).T / temperature
    # A row that is not counted is compared with itself, so that nothing infinite enters the gradient.
    with_own_N = ~counted_N if denominator == "without_positive" else torch.ones_like(counted_N)
    compared_NN = negative_NN | (own_NN & with_own_N)
    losses = []
    for direction_NN in (scores_NN, scores_NN.T) if symmetric else (scores_NN,):
        against_N = direction_NN.masked_fill(~compared_NN, -torch.inf).logsumexp(1)
        losses.append(torch.where(counted_N, against_N - direction_NN.diagonal(), 0.0).sum())
    return torch.stack(losses).mean(), counted_N.sum()


def ge2e_sum(
    vectors_ND: Tensor, same_NN: Tensor, known_N: Tensor, *, scale: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the summed generalised end-to-end loss of unit vectors, in float32, and their number.

    A vector's similarity to each speaker is scale · cosine with the mean of the speaker's vectors + offset; with its
    own speaker the mean is of the *other* vectors; the loss is −log softmax of its own (Wan et al. 2018, eq. 5, 6, 8).
    A vector whose speaker has no other one is not counted; with a single speaker, none is.

    Args:
        same_NN: which vectors are of the same speaker.
        known_N: whose speaker is known; the others are left out.
    """
    vectors_ND = vectors_ND.float()
    same_NN = same_NN & known_N[:, None] & known_N
    others_NN = ~same_NN & known_N[:, None] & known_N
    sizes_N = same_NN.sum(1)
    counted_N = (sizes_N > 1) & others_NN.any(1)
    sums_ND = same_NN.float() @ vectors_ND  # by speaker; sum and mean have the same cosines
    scale = scale.clamp_min(1e-6)
    own_N = scale * F.cosine_similarity(vectors_ND, sums_ND - vectors_ND, dim=-1) + offset
    scores_NN = scale * (F.normalize(vectors_ND, dim=-1) @ F.normalize(sums_ND, dim=-1).T) + offset
    # Every vector of a speaker stands for the speaker, who counts once.
    scores_NN = (scores_NN - sizes_N.clamp_min(1).log()).masked_fill(~others_NN, -torch.inf)
    against_N = torch.cat([scores_NN, own_N[:, None]], 1).logsumexp(1)
    return torch.where(counted_N, against_N - own_N, 0.0).sum(), counted_N.sum()
