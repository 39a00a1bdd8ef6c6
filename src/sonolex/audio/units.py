"""Hidden units: speech features as a sequence of cluster numbers, the targets of masked-unit prediction (HuBERT)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def fit_units(features: Iterable[Tensor], *, num_units: int, seed: int = 0) -> Tensor:
    """Return the centres (K, F) of k-means over the frames of clips (T, F), read one clip after the other.

    Raises:
        ValueError: fewer frames than units.
    """
    from sklearn.cluster import MiniBatchKMeans

    rows_NF = np.concatenate([f.numpy() for f in features] or [np.zeros((0, 1), np.float32)])
    if len(rows_NF) < num_units:
        raise ValueError(
            f"`num_units` must be at most the number of frames to cluster, but is {num_units} with {len(rows_NF)}."
        )
    means = MiniBatchKMeans(num_units, batch_size=4096, random_state=seed).fit(rows_NF)
    return torch.from_numpy(np.asarray(means.cluster_centers_, np.float32))


def assign_units(features_TF: Tensor, centres_KF: Tensor) -> Tensor:
    """Return the nearest centre of every frame (T,).

    >>> assign_units(torch.tensor([[0.1], [0.9]]), torch.tensor([[0.0], [1.0]])).tolist()
    [0, 1]
    """
    return torch.cdist(features_TF[None].float(), centres_KF[None])[0].argmin(1)
