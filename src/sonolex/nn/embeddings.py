"""Token and frame embeddings: content plus learned position plus modality row, normalised."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.dropout import Dropout
from sonolex.nn.pooling import at
from sonolex.types import Padded

LEVEL_SCALE = 4.0  # a patch's mean and deviation beside its normalised values, whose deviation is 1


class TokenEmbedding(nn.Module):
    """RoBERTa's input: token + position + one type row, LayerNorm, dropout.

    Positions start at ``first_position`` (RoBERTa: padding id + 1 = 2); right padding is assumed.
    """

    def __init__(
        self,
        vocab_size: int,
        num_positions: int,
        width: int,
        *,
        first_position: int,
        dropout: float,
        eps: float,
    ):
        super().__init__()
        self.first_position = first_position
        self.token = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(num_positions + first_position, width)
        self.modality = nn.Embedding(1, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        positions_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device) + self.first_position
        x_BLD = self.token(tokens_BL) + self.position(positions_L) + self.modality.weight[0]
        return self.dropout(self.norm(x_BLD))


class FrameEmbedding(nn.Module):
    """Spectral frames to model width: stem + position + one type row, LayerNorm, dropout.

    ``stem="linear"`` projects ``frames_per_step`` consecutive frames at once (1 as published); ``"conv"`` looks one
    step to either side twice; ``"conv2d"`` slides over time and frequency, so that a formant a few bands higher looks
    the same, which few speakers' data need. Padding enters every convolution as zeros, so a clip has the same embedding
    alone and in a batch.
    """

    def __init__(
        self,
        num_features: int,
        num_positions: int,
        width: int,
        *,
        stem: str,
        frames_per_step: int,
        dropout: float,
        eps: float,
    ):
        super().__init__()
        self.frames_per_step = frames_per_step
        stacked = num_features * frames_per_step
        self.project = nn.Linear(stacked, width) if stem == "linear" else None
        self.conv_in = nn.Conv1d(stacked, width, 3, padding=1) if stem == "conv" else None
        self.conv_out = nn.Conv1d(width, width, 3, padding=1) if stem == "conv" else None
        self.patches = Conv2dStem(2, num_features // 2, width, frames_per_step) if stem == "conv2d" else None
        self.position = nn.Embedding(num_positions, width)
        self.modality = nn.Embedding(1, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(self, frames: Padded) -> tuple[Tensor, Tensor]:
        """Return (B, T', D) and its validity (B, T'), T' = ceil(T / frames_per_step)."""
        stacked_BTF, valid_BT = stack_frames(frames.values, frames.valid, self.frames_per_step)
        if self.project is not None:
            x_BTD = self.project(stacked_BTF)
        elif self.patches is not None:
            # (B, T, 2F) -> (B, 2, T, F): mel and derivative
            x_BTD = self.patches(torch.stack(frames.values.chunk(2, -1), 1), frames.valid)
        else:
            x_BTD = self._convolve(stacked_BTF, valid_BT)
        positions_T = torch.arange(x_BTD.shape[1], device=x_BTD.device)
        x_BTD = x_BTD + self.position(positions_T) + self.modality.weight[0]
        return self.dropout(self.norm(x_BTD)), valid_BT

    def _convolve(self, stacked_BTF: Tensor, valid_BT: Tensor) -> Tensor:
        assert self.conv_in is not None and self.conv_out is not None
        real_B1T = valid_BT[:, None].to(stacked_BTF.dtype)
        hidden_BDT = F.gelu(self.conv_in(stacked_BTF.transpose(1, 2) * real_B1T)) * real_B1T
        return (hidden_BDT + self.conv_out(hidden_BDT)).transpose(1, 2)


class Conv2dStem(nn.Module):
    """Three 3×3 convolutions over time and mel band; (B, C, T, F) to (B, T', D).

    Every convolution halves the mel axis; the first ones halve time until ``frames_per_step`` is reached.
    """

    CHANNELS = (16, 32, 32)

    def __init__(self, num_channels: int, num_bands: int, width: int, frames_per_step: int):
        super().__init__()
        if frames_per_step not in (1, 2, 4, 8):
            raise ValueError(f"a conv2d stem must have 1, 2, 4 or 8 frames a step, but has {frames_per_step}.")
        self.strides = [2 if frames_per_step > 1 << i else 1 for i in range(3)]
        pairs = zip(itertools.pairwise((num_channels, *self.CHANNELS)), self.strides, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(*pair, 3, stride=(s, 2), padding=1) for pair, s in pairs)
        for _ in range(3):
            num_bands = -(-num_bands // 2)
        self.project = nn.Linear(self.CHANNELS[-1] * num_bands, width)

    def forward(self, x_BCTF: Tensor, valid_BT: Tensor) -> Tensor:
        for convolution, stride in zip(self.convolutions, self.strides, strict=True):
            x_BCTF = F.gelu(convolution(x_BCTF * valid_BT[:, None, :, None].to(x_BCTF.dtype)))
            valid_BT = every(valid_BT, stride)
        # (B, C, T', F') -> (B, T', C * F')
        return self.project(x_BCTF.transpose(1, 2).flatten(2))


def stack_frames(frames_BTF: Tensor, valid_BT: Tensor, frames_per_step: int) -> tuple[Tensor, Tensor]:
    """Return frames joined ``frames_per_step`` at a time, (B, T', r·F), and their validity.

    Invalid frames count as zeros; a step is valid when its first frame is, so no frame is lost.
    """
    frames_BTF = frames_BTF * valid_BT[..., None].to(frames_BTF.dtype)
    if frames_per_step == 1:
        return frames_BTF, valid_BT
    # (B, T, F) -> (B, T', r, F) -> (B, T', r * F)
    return in_groups(frames_BTF, frames_per_step).flatten(2), every(valid_BT, frames_per_step)


def in_groups(x_BT: Tensor, size: int, *, value: float = 0.0) -> Tensor:
    """Return consecutive places in groups, (B, T', size, …), T' = ceil(T / size); the last one is filled up."""
    number = (x_BT.shape[1] + size - 1) // size
    short = number * size - x_BT.shape[1]
    return F.pad(x_BT, (0, 0) * (x_BT.ndim - 2) + (0, short), value=value).unflatten(1, (number, size))


def every(valid_BT: Tensor, stride: int) -> Tensor:
    """Return the validity of every ``stride``-th place, from the first one on."""
    return in_groups(valid_BT, stride)[:, :, 0]


class NormalisedPatches(nn.Module):
    """Patch projection with a LayerNorm before and after it (Dual PatchNorm, Kumar et al. 2023).

    A linear projection of log power mostly encodes how loud a patch is, so that all states of an untrained network
    point the same way. Here its shape is projected, and its mean and deviation enter as two more values.
    """

    def __init__(self, patch_size: int, width: int):
        super().__init__()
        self.norm_in = nn.LayerNorm(patch_size)
        self.linear = nn.Linear(patch_size + 2, width)
        self.norm_out = nn.LayerNorm(width)

    def forward(self, patches_BPK: Tensor) -> Tensor:
        """Return (B, P, D)."""
        level_BP1, spread_BP1 = patches_BPK.mean(-1, keepdim=True), patches_BPK.std(-1, correction=0, keepdim=True)
        inputs_BPK = torch.cat([self.norm_in(patches_BPK), level_BP1 * LEVEL_SCALE, spread_BP1 * LEVEL_SCALE], -1)
        return self.norm_out(self.linear(inputs_BPK))


class PatchEmbedding(nn.Module):
    """AST's input: linear patch projection, learned positions by time and band, class and distillation token.

    The position table covers ``num_columns`` × ``num_rows`` patches. Shorter clips use its beginning; the table is
    stretched along time for a longer clip, by that clip's own length, so padding changes nothing.
    """

    def __init__(
        self, patch_size: int, num_columns: int, num_rows: int, width: int, *, dropout: float, norm: str = "none"
    ):
        super().__init__()
        self.num_columns, self.num_rows = num_columns, num_rows
        self.project = nn.Linear(patch_size, width) if norm == "none" else NormalisedPatches(patch_size, width)
        self.position = nn.Parameter(torch.empty(num_columns * num_rows, width))
        self.special = nn.Parameter(torch.empty(2, width))
        self.special_position = nn.Parameter(torch.empty(2, width))
        self.dropout = Dropout(dropout)
        for parameter in (self.position, self.special, self.special_position):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(
        self,
        patches_BPK: Tensor,
        valid_BP: Tensor,
        *,
        kept: Padded | None = None,
        replaced_BP: Tensor | None = None,
        replacement_D: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return (B, 2 + P', D), class and distillation token first, and its validity.

        Args:
            kept: numbers of the patches that enter (B, P'), from `kept_places`; None keeps all.
            replaced_BP, replacement_D: patches whose projection is replaced by one vector; positions stay.
        """
        positions_BPD = self._positions(valid_BP)
        x_BPD = self.project(patches_BPK)
        if replaced_BP is not None and replacement_D is not None:
            x_BPD = torch.where(replaced_BP[..., None], replacement_D.to(x_BPD.dtype), x_BPD)
        x_BPD = x_BPD + positions_BPD
        if kept is not None:
            x_BPD, valid_BP = at(x_BPD, kept.values), kept.valid
        special_B2D = (self.special + self.special_position).expand(x_BPD.shape[0], -1, -1).to(x_BPD.dtype)
        return self.dropout(torch.cat([special_B2D, x_BPD], 1)), F.pad(valid_BP, (2, 0), value=True)

    def _positions(self, valid_BP: Tensor) -> Tensor:
        """Return the position vectors of the patches, (1 or B, P, D)."""
        num_patches, num_rows = valid_BP.shape[1], self.num_rows
        # An exported program takes any length, so it cannot branch on it.
        if not torch.compiler.is_exporting() and num_patches <= len(self.position):
            return self.position[None, :num_patches]
        # Bilinear interpolation along time, as `resize_positions` does it, by each clip's own number of columns.
        columns_B1 = (valid_BP.sum(1, keepdim=True) + num_rows - 1) // num_rows
        scale_B1 = (self.num_columns / columns_B1.clamp_min(1)).clamp_max(1.0)
        place_P = torch.arange(num_patches, device=valid_BP.device)
        at_BP = ((place_P // num_rows + 0.5) * scale_B1 - 0.5).clamp_min(0.0)
        before_BP = at_BP.long().clamp_max(self.num_columns - 1)
        after_BP = (before_BP + 1).clamp_max(self.num_columns - 1)
        share_BP1 = (at_BP - before_BP)[..., None]
        row_P = place_P % num_rows
        before_BPD, after_BPD = (self.position[column_BP * num_rows + row_P] for column_BP in (before_BP, after_BP))
        return (1 - share_BP1) * before_BPD + share_BP1 * after_BPD


class HiddenPatch(nn.Module):
    """The learned vector that stands for patches an objective hides."""

    def __init__(self, width: int):
        super().__init__()
        self.vector_D = nn.Parameter(torch.empty(width))
        nn.init.trunc_normal_(self.vector_D, std=0.02)


def resize_positions(table_PD: Tensor, size: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Return a position table of columns × rows interpolated bilinearly to ``wanted``; itself if that is its size."""
    if size == wanted or 0 in wanted:
        return table_PD if size == wanted else table_PD[:0]
    # (columns * rows, D) -> (1, D, columns, rows)
    grid = table_PD.reshape(1, *size, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, wanted, mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(wanted[0] * wanted[1], -1)


def kept_places(keep_BP: Tensor, most: int) -> Padded:
    """Return the numbers of the places that each clip keeps, in order, padded to ``most`` (B, most)."""
    order_BP = torch.argsort((~keep_BP).to(torch.uint8), dim=1, stable=True)[:, :most]
    return Padded(order_BP, torch.arange(most, device=keep_BP.device) < keep_BP.sum(1, keepdim=True))


def sinusoids(length: int, width: int) -> Tensor:
    """Return the positions of Vaswani et al. 2017 (length, width): sines in the first half, cosines in the second."""
    rates_H = torch.exp(-math.log(10_000.0) * torch.arange(width // 2) / max(1, width // 2 - 1))
    angles_TH = torch.arange(length)[:, None] * rates_H
    return torch.cat([angles_TH.sin(), angles_TH.cos()], 1)
