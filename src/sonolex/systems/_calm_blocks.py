"""CALM's audio tokens: blocks of spectrogram through SpecTran, at one or several rates, and which of them are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sonolex.audio.patches import Blocks, Grid, cut_blocks, cut_patches
from sonolex.nn.dropout import drawn_for
from sonolex.nn.embeddings import Conv2dStem, HiddenPatch
from sonolex.nn.spectran import SpecTran
from sonolex.objectives.corruption import choose_runs


@dataclass(frozen=True)
class AudioTokens:
    """Vectors of all blocks, one rate after the other, their validity, and the positions: one more than there are.

    ``parts`` are the blocks of each rate.
    """

    x_BND: Tensor
    valid_BN: Tensor
    times_T: Tensor
    parts: tuple[int, ...]


class BlockTokens(nn.Module):
    """One SpecTran per rate; with several rates, a learned vector says which one a token is of.

    ``stem`` is "linear" or "normalised" for the grid's patches, or "conv2d" for convolutions with a vector every
    ``stride_frames``.
    ``learned_fill`` stands a learned vector in the place of hidden blocks, otherwise zeros. ``sizes`` are SpecTran's.
    """

    def __init__(self, blocks: Sequence[Blocks], grid: Grid, *, stem: str, learned_fill: bool, **sizes: Any):
        super().__init__()
        self.blocks, self.grid, self.width = tuple(blocks), grid, sizes["out_width"]
        step, counts = grid.strides[0], [grid.num_patches(b.frames) for b in blocks]
        self.stems: nn.ModuleList | None = None
        if stem == "conv2d":
            counts = [-(-b.frames // step) for b in blocks]
            self.stems = nn.ModuleList(Conv2dStem(1, grid.num_mels, sizes["width"], step) for _ in blocks)
        self.spectrans = nn.ModuleList(SpecTran(grid.size, count, stem=stem, **sizes) for count in counts)
        self.rate = nn.Embedding(len(blocks), self.width) if len(blocks) > 1 else None
        self.fill = HiddenPatch(self.width) if learned_fill else None
        if self.rate is not None:
            nn.init.normal_(self.rate.weight, std=0.02)

    def forward(
        self, frames_BTF: Tensor, valid_BT: Tensor, *, hidden: Mapping[str, Tensor] | None = None
    ) -> AudioTokens:
        """Return the tokens of a batch; ``hidden`` has, by `hidden_name`, which blocks (B, N) are filled instead."""
        vectors, valid, times = [], [], []
        for rate, (blocks_BNSF, frames_valid_BNS) in enumerate(self._cut(frames_BTF, valid_BT)):
            valid_BN = frames_valid_BNS.any(2)
            with drawn_for(*valid_BN.nonzero(as_tuple=True)):
                found_ND = self._encoded(rate, blocks_BNSF[valid_BN], frames_valid_BNS[valid_BN])
            x_BND = found_ND.new_zeros(*valid_BN.shape, self.width)
            x_BND[valid_BN] = found_ND
            if hidden is not None:
                fill_D = found_ND.new_zeros(()) if self.fill is None else self.fill.vector_D.to(x_BND.dtype)
                x_BND = torch.where(hidden[hidden_name(rate)][..., None], fill_D, x_BND)
            vectors.append(x_BND if self.rate is None else x_BND + self.rate.weight[rate])
            valid.append(valid_BN)
            times.append(torch.arange(valid_BN.shape[1], device=valid_BN.device))
        parts = tuple(v.shape[1] for v in valid)
        times.append(times[-1][-1:] + 1)
        return AudioTokens(torch.cat(vectors, 1), torch.cat(valid, 1), torch.cat(times), parts)

    def of_pairs(
        self, frames_BTF: Tensor, valid_BT: Tensor, pairs_B3: Tensor, *, found: AudioTokens | None = None
    ) -> Tensor:
        """Return the vectors of two blocks a clip (B, 2, D), zeros where it lacks one.

        Args:
            pairs_B3: from `draw_pairs`.
            found: all tokens of the batch, if they are known; without them only the two blocks are encoded.
        """
        vectors_B2D = torch.zeros(len(pairs_B3), 2, self.width, device=pairs_B3.device)
        start = 0
        for rate, (blocks_BNSF, frames_valid_BNS) in enumerate(self._cut(frames_BTF, valid_BT)):
            clip_N, which_N = ((pairs_B3[:, :1] == rate) & (pairs_B3[:, 1:] >= 0)).nonzero(as_tuple=True)
            place_N = pairs_B3[clip_N, 1 + which_N]
            if found is not None:
                own_ND = found.x_BND[clip_N, start + place_N]
            else:
                with drawn_for(clip_N, place_N):
                    own_ND = self._encoded(rate, blocks_BNSF[clip_N, place_N], frames_valid_BNS[clip_N, place_N])
            vectors_B2D = vectors_B2D.index_put((clip_N, which_N), own_ND.float())
            start += blocks_BNSF.shape[1]
        return vectors_B2D

    def _cut(self, frames_BTF: Tensor, valid_BT: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [cut_blocks(frames_BTF, valid_BT, blocks) for blocks in self.blocks]

    def _encoded(self, rate: int, blocks_NSF: Tensor, valid_NS: Tensor) -> Tensor:
        if not len(blocks_NSF):
            return blocks_NSF.new_zeros(0, self.width)
        if self.stems is None:
            patches_NPK, valid_NP = cut_patches(blocks_NSF, valid_NS, self.grid)
        else:
            patches_NPK = self.stems[rate](blocks_NSF[:, None], valid_NS)
            valid_NP = valid_NS[:, :: self.grid.strides[0]]
        found_ND = self.spectrans[rate](patches_NPK, valid_NP)
        return F.layer_norm(found_ND, found_ND.shape[-1:])


def hidden_name(rate: int) -> str:
    """Return the name under which `hide_blocks` of a rate travels in a batch's extras."""
    return f"hidden_blocks_{rate}_BN"


def hide_blocks(valid_BN: Tensor, generators: Sequence[Generator], *, share: float, run: int) -> Tensor:
    """Return which blocks of each clip are hidden (B, N): see `choose_runs`."""
    rows = [
        F.pad(choose_runs(n, share=share, run=run, generator=g), (0, valid_BN.shape[1] - n))
        for n, g in zip(valid_BN.sum(1).tolist(), generators, strict=True)
    ]
    return torch.stack(rows)


def draw_pairs(rates: Sequence[Blocks], lengths: Sequence[int], generators: Sequence[Generator], *, gap: int) -> Tensor:
    """Return (rate, t, t + gap) of two blocks a clip (B, 3); -1 where a clip has no such block.

    Args:
        lengths: frames of each clip.
    """
    pairs = []
    for length, generator in zip(lengths, generators, strict=True):
        rate = int(torch.randint(len(rates), (), generator=generator))
        num_blocks = rates[rate].num_blocks(length)
        first = int(torch.randint(max(1, num_blocks - gap), (), generator=generator))
        pairs.append((rate, first if num_blocks else -1, first + gap if first + gap < num_blocks else -1))
    return torch.tensor(pairs)
