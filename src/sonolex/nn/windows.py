"""Clips longer than a window: cut into windows, and put together again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Windows of a batch of clips, in order. Every clip has at least one; the last one ends with the clip.

    Attributes:
        owners: the clip of each window.
        starts: its first position.
        size: positions of a window.
        num_clips: in the batch.
    """

    owners: tuple[int, ...]
    starts: tuple[int, ...]
    size: int
    num_clips: int

    @classmethod
    def over(cls, valid_BT: Tensor, size: int) -> Windows:
        """Return the windows that cover clips of these lengths without overlap, but for the last one's."""
        owners: list[int] = []
        starts: list[int] = []
        for clip, length in enumerate(valid_BT.sum(1).tolist()):
            first = sorted({*range(0, max(1, length - size), size), max(0, length - size)})
            owners += [clip] * len(first)
            starts += first
        return cls(tuple(owners), tuple(starts), size, len(valid_BT))

    @property
    def single(self) -> bool:
        """Whether every clip is one window."""
        return len(self.owners) == self.num_clips

    def cut(self, x_BT: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the windows' values (N, size, …) and validity; shorter ones are padded at their end."""
        if self.single:
            return x_BT, valid_BT
        short = max(0, max(self.starts) + self.size - x_BT.shape[1])
        x_BT = F.pad(x_BT, (0, 0) * (x_BT.ndim - 2) + (0, short))
        valid_BT = F.pad(valid_BT, (0, short))
        pairs = list(zip(self.owners, self.starts, strict=True))
        pieces = torch.stack([x_BT[b, s : s + self.size] for b, s in pairs])
        return pieces, torch.stack([valid_BT[b, s : s + self.size] for b, s in pairs])

    def repeated(self, x_B: Tensor | None) -> Tensor | None:
        """Return each clip's row once for each of its windows."""
        return x_B if x_B is None or self.single else x_B[list(self.owners)]

    def averaged(self, x_N: Tensor) -> Tensor:
        """Return the mean of each clip's windows (B, …)."""
        if self.single:
            return x_N
        owners_N = torch.tensor(self.owners, device=x_N.device)
        sums_B = x_N.new_zeros(self.num_clips, *x_N.shape[1:]).index_add(0, owners_N, x_N)
        counts_B = torch.bincount(owners_N, minlength=self.num_clips).view(-1, *[1] * (x_N.ndim - 1))
        return sums_B / counts_B

    def chained(self, x_NTD: Tensor, valid_NT: Tensor) -> tuple[Tensor, Tensor]:
        """Return each clip's valid states of all its windows one after the other (B, T, D), and their validity."""
        if self.single:
            return x_NTD, valid_NT
        rows: list[list[Tensor]] = [[] for _ in range(self.num_clips)]
        for owner, x_TD, valid_T in zip(self.owners, x_NTD, valid_NT, strict=True):
            rows[owner].append(x_TD[valid_T])
        joined = [torch.cat(r) for r in rows]
        longest = max(1, *(len(r) for r in joined))
        valid_BT = torch.stack([torch.arange(longest, device=x_NTD.device) < len(r) for r in joined])
        return torch.stack([F.pad(r, (0, 0, 0, longest - len(r))) for r in joined]), valid_BT
