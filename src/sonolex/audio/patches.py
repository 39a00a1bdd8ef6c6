"""Spectrogram to patches and back: rectangular, with any stride, padded or cut off at the end. All counts are here.

Patches are ordered by time first, then from low to high band: padding is always at the end of a clip's patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sonolex.types import Padded

MOST_STRIDE = 10_000  # a clip is padded to its last patch


@dataclass(frozen=True)
class Grid:
    """Size and stride of patches on a spectrogram of ``num_mels`` bands.

    Attributes:
        frames, bins: of one patch. SSAST: 16 × 16 ("patch") or 2 × 128 ("frame").
        stride_frames, stride_bins: from one patch to the next; 0 is the patch's own size (no overlap).
        partial: frames at the end that fill no whole patch are padded to one ("pad"), or left out ("drop": AST's
            convolution; at least one patch is kept).
    """

    frames: int = 16
    bins: int = 16
    stride_frames: int = 0
    stride_bins: int = 0
    num_mels: int = 128
    partial: str = "pad"

    def __post_init__(self) -> None:
        if min(self.frames, self.bins) < 1 or not 0 <= min(self.strides) <= max(self.strides) <= MOST_STRIDE:
            raise ValueError(
                f"`frames` and `bins` must be at least 1 and strides 0 to {MOST_STRIDE}, but the grid is {self}."
            )
        if self.bins > self.num_mels:
            raise ValueError(f"`bins` must be at most {self.num_mels} (num_mels), but is {self.bins}.")
        if self.partial not in ("pad", "drop"):
            raise ValueError(f"`partial` must be pad or drop, but is {self.partial!r}.")

    @property
    def strides(self) -> tuple[int, int]:
        """Frames and bands from one patch to the next."""
        return self.stride_frames or self.frames, self.stride_bins or self.bins

    @property
    def size(self) -> int:
        """Values in one patch."""
        return self.frames * self.bins

    @property
    def num_rows(self) -> int:
        """Patches from the lowest to the highest band."""
        return 1 + (self.num_mels - self.bins) // self.strides[1]

    def num_columns(self, num_frames: int) -> int:
        """Return the number of patches along time; at least one for a clip that has a frame, 0 for none."""
        if num_frames <= 0:
            return 0
        return 1 + self._strides_in(torch.sym_max(0, num_frames - self.frames))

    def columns_of(self, lengths_B: Tensor) -> Tensor:
        """Return `num_columns` of clips of these lengths, without copying them from the device."""
        columns_B = 1 + self._strides_in((lengths_B - self.frames).clamp_min(0))
        return torch.where(lengths_B > 0, columns_B, 0)

    def _strides_in(self, beyond: Any) -> Any:
        """Return how many strides the frames beyond the first patch need, or fill."""
        stride = self.strides[0]
        return (beyond + stride - 1) // stride if self.partial == "pad" else beyond // stride

    def num_patches(self, num_frames: int) -> int:
        """Return the number of patches of a clip. AST-Base: 12 × 101 at 1024 frames with stride 10 and "drop"."""
        return self.num_rows * self.num_columns(num_frames)


def cut_patches(frames: Padded, grid: Grid) -> Padded:
    """Return patches (B, P, frames · bins), each frame by frame. Invalid frames count as zeros."""
    frames_BTF, valid_BT, lengths = frames
    if frames_BTF.shape[-1] != grid.num_mels:
        raise ValueError(f"frames must have {grid.num_mels} bands (num_mels), but have {frames_BTF.shape[-1]}.")
    frames_BTF = frames_BTF * valid_BT[..., None].to(frames_BTF.dtype)
    (step_T, step_F), num_columns = grid.strides, grid.num_columns(frames_BTF.shape[1])
    columns = _stretches(frames_BTF, num_columns, grid.frames, step_T)
    # (B, columns, frames, F) -> (B, columns, rows, frames, bins) -> (B, P, frames * bins)
    cut = columns.unfold(3, grid.bins, step_F)[:, :, :, : grid.num_rows].transpose(2, 3)
    patches_BPK = cut.flatten(3).flatten(1, 2)
    column_P = torch.arange(num_columns * grid.num_rows, device=valid_BT.device) // grid.num_rows
    patches_valid_BP = column_P < grid.columns_of(valid_BT.sum(1))[:, None]
    return Padded(patches_BPK, patches_valid_BP, lengths and tuple(grid.num_patches(n) for n in lengths))


def join_patches(patches_BPK: Tensor, grid: Grid) -> Tensor:
    """Return the spectrogram (B, T, F) that non-overlapping patches were cut from, padding included."""
    if grid.strides != (grid.frames, grid.bins) or grid.num_mels % grid.bins:
        raise ValueError("patches must cover the bands without overlap to be joined, but the grid does not.")
    batch, num_patches, _ = patches_BPK.shape
    shape = (batch, num_patches // grid.num_rows, grid.num_rows, grid.frames, grid.bins)
    # (B, columns, rows, frames, bins) -> (B, columns, frames, rows, bins) -> (B, T, F)
    return patches_BPK.reshape(shape).transpose(2, 3).reshape(batch, -1, grid.num_mels)


@dataclass(frozen=True)
class Blocks:
    """Stretches of a spectrogram that become one token each (CALM section 5.1: 50 frames, every 30).

    The last block of a clip holds the frames that remain; no frame is lost.
    """

    frames: int = 50
    hop: int = 30

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.frames:
            raise ValueError(f"`hop` must be 1 to frames ({self.frames}), so that no frame is lost, but is {self.hop}.")

    def num_blocks(self, num_frames: int) -> int:
        """Return the number of blocks of a clip; 0 without frames."""
        beyond: Any = torch.sym_max(0, num_frames - self.frames)
        return 0 if num_frames <= 0 else 1 + (beyond + self.hop - 1) // self.hop

    def blocks_of(self, lengths_B: Tensor) -> Tensor:
        """Return `num_blocks` of clips of these lengths, without copying them from the device."""
        return torch.where(lengths_B > 0, 1 + ((lengths_B - self.frames).clamp_min(0) + self.hop - 1) // self.hop, 0)


def cut_blocks(frames: Padded, blocks: Blocks) -> tuple[Tensor, Padded]:
    """Return blocks (B, N, frames, F), and the validity (B, N, frames) of their frames with each clip's blocks."""
    frames_BTF, valid_BT, lengths = frames
    num_blocks = blocks.num_blocks(frames_BTF.shape[1])
    blocks_BNSF, frames_valid_BNS = (
        _stretches(x_BT, num_blocks, blocks.frames, blocks.hop) for x_BT in (frames_BTF, valid_BT)
    )
    own_BN = torch.arange(num_blocks, device=valid_BT.device) < blocks.blocks_of(valid_BT.sum(1))[:, None]
    frames_valid_BNS = frames_valid_BNS & own_BN[..., None]
    return blocks_BNSF, Padded(frames_valid_BNS, own_BN, lengths and tuple(blocks.num_blocks(n) for n in lengths))


def _stretches(x_BT: Tensor, number: int, size: int, hop: int) -> Tensor:
    """Return stretches (B, number, size, …), one every ``hop`` places, padded with zeros at the end."""
    x_BT = F.pad(x_BT, (0, 0) * (x_BT.ndim - 2) + (0, max(size, hop)))
    firsts_N1 = hop * torch.arange(number, device=x_BT.device)[:, None]
    places_NS = firsts_N1 + torch.arange(size, device=x_BT.device)
    return x_BT.index_select(1, places_NS.flatten()).unflatten(1, (number, size))
