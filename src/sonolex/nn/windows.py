"""Clips longer than a window: cut into windows, and put together again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sonolex.places import at_places, places_of
from sonolex.types import Padded


@dataclass(frozen=True)
class Windows:
    """Windows of a batch of clips, in order. Every clip has at least one; the last one ends with the clip.

    Only the clips' own N of B · W windows are computed where the clips' lengths are known.

    Attributes:
        shape: clips B, and windows W of the longest.
        places_N: the windows' places in (B, W).
        starts_N: first position of each in its clip.
        valid_N: whether the clip has this window.
        size: positions of a window; those of the longest clip if they are fewer.
        lengths: valid positions of each, where known.
    """

    shape: tuple[int, int]
    places_N: Tensor
    starts_N: Tensor
    valid_N: Tensor
    size: int
    lengths: tuple[int, ...] | None

    @classmethod
    def over(cls, clips: Padded, size: int) -> Windows:
        """Return the windows that cover clips; only a clip's last window may overlap another."""
        (num_clips, longest), device, lengths = clips.valid.shape, clips.valid.device, None
        most: Any = torch.sym_max(1, (longest + size - 1) // size)
        within: Any = torch.sym_min(size, longest)
        # No tensor (B, W) here: torch would specialise an exported program on whether W is 1.
        if clips.lengths is None:
            places_N = torch.arange(num_clips * most, device=device)
        else:
            counts = [max(1, -(-n // size)) for n in clips.lengths]
            places_N = places_of(counts, most).to(device, non_blocking=True)
            lengths = tuple(min(n, size) for n, count in zip(clips.lengths, counts, strict=True) for _ in range(count))
        firsts_N, lengths_N = places_N % most * size, clips.valid.sum(1).index_select(0, places_N // most)
        starts_N = torch.minimum(firsts_N, (lengths_N - size).clamp_min(0))
        valid_N = (firsts_N < lengths_N) | (firsts_N == 0)
        return cls((num_clips, most), places_N, starts_N, valid_N, within, lengths)

    @property
    def owners_N(self) -> Tensor:
        """The clip of each window."""
        return self.places_N // self.shape[1]

    @property
    def single(self) -> bool:
        """Whether every clip is one window, and nothing has to be copied. An exported program cannot branch on it."""
        return not torch.compiler.is_exporting() and self.shape[1] == 1

    def cut(self, clips: Padded) -> Padded:
        """Return the windows (N, size, …); that of a shorter clip is padded at its end."""
        if self.single:
            return clips
        firsts_N = self.owners_N * clips.valid.shape[1] + self.starts_N
        places_NS = firsts_N[:, None] + torch.arange(self.size, device=firsts_N.device)
        values, valid = (at_places(x_BT, places_NS.flatten()).unflatten(0, places_NS.shape) for x_BT in clips[:2])
        return Padded(values, valid, self.lengths)

    def repeated(self, rows: Padded) -> Padded:
        """Return each clip's row once for each of its windows."""
        if self.single:
            return rows
        values, valid = (x_B.index_select(0, self.owners_N) for x_B in rows[:2])
        return Padded(values, valid)

    def averaged(self, x_N: Tensor) -> Tensor:
        """Return the mean of each clip's windows (B, …)."""
        if self.single:
            return x_N
        valid_N = self.valid_N.view(-1, *[1] * (x_N.ndim - 1))
        sums_B, counts_B = (
            y_N.new_zeros(self.shape[0], *y_N.shape[1:]).index_add(0, self.owners_N, y_N)
            for y_N in (x_N * valid_N, valid_N.to(x_N.dtype))
        )
        return sums_B / counts_B

    def chained(self, x_NTD: Tensor, valid_NT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states of all windows of a clip one after the other (B, W · T, D), and their validity.

        Where a clip has several windows all of them are full, so nothing but the end is padding.
        """
        if self.single:
            return x_NTD, valid_NT
        return self._in_rows(x_NTD), self._in_rows(valid_NT & self.valid_N[:, None])

    def _in_rows(self, x_NT: Tensor) -> Tensor:
        num_clips, most = self.shape
        all_NT = x_NT.new_zeros(num_clips * most, *x_NT.shape[1:]).index_copy(0, self.places_N, x_NT)
        # (B * W, T, …) -> (B, W * T, …)
        return all_NT.flatten(0, 1).unflatten(0, (num_clips, most * x_NT.shape[1]))
