"""NT-Xent between paired vectors.

Source: CALM eq. 2. Rows are clips, and the loss looks at all rows given: callers join the rows of
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
) -> tuple[Tensor, int]:
    """Return the summed −log(exp(s_ii/τ) / Σ_j exp(s_ij/τ)) of cosines s, in float32, and over how many rows.

    Args:
        same_NN: pairs that are not negatives of each other, e.g. clips with the same transcript.
        denominator: "with_positive" (NT-Xent), or "without_positive" (CALM eq. 2 as printed: j ≠ i, unbounded below).
        symmetric: average the loss from anchors to positives and back; False looks from the anchors only, as printed.

    A row without any negative says nothing and is not counted.

    Raises:
        ValueError: an unknown denominator.
    """
    if denominator not in ("with_positive", "without_positive"):
        raise ValueError(f"`denominator` must be with_positive or without_positive, but is {denominator!r}.")
    own_NN = torch.eye(len(anchors_ND), dtype=torch.bool, device=anchors_ND.device)
    negative_NN = ~own_NN if same_NN is None else ~(own_NN | same_NN)
    counted_N = negative_NN.any(1)
    with torch.autocast(anchors_ND.device.type, enabled=False):  # it would take the product in half precision
        scores_NN = F.normalize(anchors_ND.float(), dim=-1) @ F.normalize(positives_ND.float(), dim=-1).T / temperature
    compared_NN = negative_NN if denominator == "without_positive" else negative_NN | own_NN
    losses = []
    for direction_NN in (scores_NN, scores_NN.T) if symmetric else (scores_NN,):
        against_N = direction_NN.masked_fill(~compared_NN, -torch.inf)[counted_N].logsumexp(1)
        losses.append((against_N - direction_NN.diagonal()[counted_N]).sum())
    return torch.stack(losses).mean(), int(counted_N.sum())


def ge2e_sum(vectors_ND: Tensor, speakers_N: Tensor, *, scale: Tensor, offset: Tensor) -> tuple[Tensor, int]:
    """Return the summed generalised end-to-end loss of unit vectors, in float32, and over how many of them.

    A vector's similarity to each speaker is scale · cosine with the mean of the speaker's vectors + offset; with its
    own speaker the mean is of the *other* vectors; the loss is −log softmax of its own (Wan et al. 2018, eq. 5, 6, 8).
    Vectors whose speaker has no other one, and all if there is one speaker, say nothing and are not counted.

    Args:
        speakers_N: numbers of the speakers, 0 to their count.
    """
    vectors_ND = vectors_ND.float()
    _, speakers_N = torch.unique(speakers_N, return_inverse=True)
    own_NS = F.one_hot(speakers_N).float() if len(speakers_N) else vectors_ND.new_zeros(0, 0)
    sizes_S = own_NS.sum(0)
    counted_N = (own_NS * sizes_S).sum(1) > 1
    if len(sizes_S) < 2 or not counted_N.any():
        return 0 * (vectors_ND.sum() + scale + offset), 0
    sums_SD = own_NS.T @ vectors_ND
    centres_NSD = sums_SD[None] - own_NS[..., None] * vectors_ND[:, None]  # of a speaker, without the vector itself
    cosines_NS = F.cosine_similarity(vectors_ND[:, None], centres_NSD, dim=-1)
    scores_NS = scale.clamp_min(1e-6) * cosines_NS + offset
    return F.cross_entropy(scores_NS[counted_N], speakers_N[counted_N], reduction="sum"), int(counted_N.sum())
