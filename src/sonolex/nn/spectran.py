"""SpecTran: a small transformer over the patches of one block of spectrogram; its first token is the block's vector.

Source: CALM section 4.2. Depth, heads and norms are not published; two pre-norm layers at the language model's width
come near both published sizes (docs/reference.md, CALM).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.dropout import Dropout
from sonolex.nn.embeddings import NormalisedPatches
from sonolex.nn.transformer import PreNormLayer, attends_to_valid


class SpecTran(nn.Module):
    """Patches + learned position by time and band + class token, pre-norm layers, LayerNorm, map to ``out_width``.

    Nothing is mapped where the widths agree. A block that is not full attends to the patches it has.

    ``stem`` says how a patch becomes a vector: "linear" as published, "normalised" with its mean and deviation apart
    (`NormalisedPatches`), or "conv2d" if it is one of ``width`` already, from convolutions.
    """

    def __init__(
        self,
        patch_size: int,
        num_patches: int,
        *,
        width: int,
        num_layers: int,
        num_heads: int,
        ffn_width: int,
        out_width: int,
        dropout: float,
        stem: str = "linear",
        eps: float = 1e-6,
    ):
        super().__init__()
        self.project: nn.Module
        if stem == "conv2d":
            self.project = nn.LayerNorm(width, eps=eps)  # or its position would drown it
        else:
            self.project = {"linear": nn.Linear, "normalised": NormalisedPatches}[stem](patch_size, width)
        self.position = nn.Parameter(torch.empty(num_patches, width))
        self.first = nn.Parameter(torch.empty(width))
        self.layers = nn.ModuleList(
            PreNormLayer(width, num_heads, ffn_width, dropout=dropout, attention_dropout=0.0, eps=eps)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width, eps=eps)
        self.map = nn.Linear(width, out_width) if width != out_width else nn.Identity()
        self.dropout = Dropout(dropout)
        for parameter in (self.position, self.first):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, patches_NPK: Tensor, valid_NP: Tensor) -> Tensor:
        """Return one vector per block (N, out_width) from its patches, of which there are at most ``num_patches``."""
        x_NPD = self.project(patches_NPK) + self.position[: patches_NPK.shape[1]]
        first_N1D = self.first.to(x_NPD.dtype).expand(len(x_NPD), 1, -1)
        x_NPD = self.dropout(torch.cat([first_N1D, x_NPD], 1))
        attends_N1PP = attends_to_valid(F.pad(valid_NP, (1, 0), value=True))
        for layer in self.layers:
            x_NPD = layer(x_NPD, attends_N1PP)
        return self.map(self.norm(x_NPD[:, 0]))
