"""AST: Audio Spectrogram Transformer (Gong, Chung and Glass, Interspeech 2021).

What is unusual about it:

- It is an image transformer: filter banks are cut into patches, which overlap by 6 frames and bands, and weights may
  come from DeiT, whose three colour channels are joined into one (the paper says averaged, the code sums).
- Every clip is padded to 1024 frames *before* normalisation, so padding has the value 0.467 and is attended to. Here
  clips keep their length; the processor's ``frames="fixed"`` is the published way, for checkpoint parity.
- A clip's vector is the mean of class and distillation token.

It has no pre-training objective of its own: it is trained with labels, from random or imported weights. SSAST and
VCR-AST pre-train the same network without labels; the latter's thesis describes AST in its chapter 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sonolex.audio.patches import Grid, cut_patches
from sonolex.configs import one_of
from sonolex.nn.embeddings import PatchEmbedding
from sonolex.nn.spectrogram_transformer import (
    final_states,
    kept_patches,
    pooled_states,
    pre_norm_layers,
)
from sonolex.nn.transformer import initialise_truncated
from sonolex.pretrained.ast import ast_sizes, import_ast_or_deit
from sonolex.pretrained.base import ImportReport
from sonolex.processors.spectrogram import SpectrogramConfig, SpectrogramProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import Batch, Encoding

OVERLAPPING = Grid(frames=16, bins=16, stride_frames=10, stride_bins=10, num_mels=128)


@dataclass(frozen=True)
class AstConfig(SystemConfig):
    """AST-Base: 16 × 16 patches every 10 frames and bands, 12 × 101 of them at 1024 frames (AST section 2.1).

    Attributes:
        grid: patches; "overlapping 16x16 patches" (VCR-AST figure 2.1).
        table_frames: length that the position table is made for; longer clips stretch it.
        num_layers, width, num_heads, ffn_width: of DeiT-Base, whose weights AST starts from (AST section 2.2).
        dropout, attention_dropout, norm_eps: the code's.
        patch_norm: "none" (published: a linear projection), or "dual" (see `NormalisedPatches`).
        keep_patches: share of each clip's patches that enters the encoder in training, drawn anew every time (patchout,
            Koutini et al. 2022): cheaper steps, and it regularises. Evaluation sees all. Published: all.
        pool: "tokens" (the code: mean of class and distillation token; the paper says [CLS]), the "mean" of the patches
            or their "mean_std".
        attention: "exact", or "random_features" (linear in the number of patches; VCR-AST section 5.8.1), with
            ``num_random_features`` per head.
    """

    grid: Grid = OVERLAPPING
    table_frames: int = 1024
    num_layers: int = 12
    width: int = 768
    num_heads: int = 12
    ffn_width: int = 3072
    dropout: float = 0.0
    attention_dropout: float = 0.0
    norm_eps: float = 1e-6
    patch_norm: str = "none"
    keep_patches: float = 1.0
    pool: str = "tokens"
    attention: str = "exact"
    num_random_features: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("attention", self.attention, ("exact", "random_features"))
        one_of("pool", self.pool, ("mean", "mean_std", "tokens"))
        one_of("patch_norm", self.patch_norm, ("none", "dual"))
        if not 0 < self.keep_patches <= 1:
            raise ValueError(f"`keep_patches` must be above 0 and at most 1, but is {self.keep_patches}.")

    @classmethod
    def base(cls, **changes: Any) -> AstConfig:
        """Return 12 layers of 768 (86M parameters at 1024 frames)."""
        return cls(**changes)

    @classmethod
    def like(cls, place: str | Path, **changes: Any) -> AstConfig:
        """Return the sizes of an AST, SSAST or DeiT checkpoint (file, folder or ``hub:ORG/NAME``), to start from it."""
        sizes = ast_sizes(place)
        sizes["grid"] = Grid(**sizes["grid"])
        return cls(**(sizes | changes))

    @classmethod
    def small(cls, **changes: Any) -> AstConfig:
        """Return 12 layers of 384."""
        sizes: dict[str, Any] = {"width": 384, "num_heads": 6, "ffn_width": 1536}
        return cls(**(sizes | changes))

    @classmethod
    def tiny(cls, **changes: Any) -> AstConfig:
        """Return 12 layers of 192."""
        sizes: dict[str, Any] = {"width": 192, "num_heads": 3, "ffn_width": 768}
        return cls(**(sizes | changes))


class Ast(System):
    """Patch embedding, transformer encoder, and the mean of its two tokens."""

    name = "ast"
    config_type = AstConfig
    processor_type = SpectrogramProcessor
    accepts = frozenset({frozenset({"audio"})})
    config: AstConfig

    def __init__(self, config: AstConfig):
        super().__init__()
        self.config = c = config
        # Linear projection of each patch, class and distillation token, learned positions (AST section 2.1)
        columns = c.grid.num_columns(c.table_frames)
        self.embedding = PatchEmbedding(
            c.grid.size, columns, c.grid.num_rows, c.width, dropout=c.dropout, norm=c.patch_norm
        )
        self.layers = pre_norm_layers(
            c.num_layers,
            c.width,
            c.num_heads,
            c.ffn_width,
            dropout=c.dropout,
            attention_dropout=c.attention_dropout,
            eps=c.norm_eps,
            num_random_features=c.num_random_features if c.attention == "random_features" else 0,
        )
        self.norm = nn.LayerNorm(c.width, eps=c.norm_eps)
        initialise_truncated(self)

    @property
    def pooled_dim(self) -> int:
        return self.config.width * (2 if self.config.pool == "mean_std" else 1)

    def encode(self, batch: Batch) -> Encoding:
        """Return the states of both tokens and all patches, and the clip's vector."""
        if batch.frames is None:
            raise ValueError(f"a batch must have audio for {self.name}, but clips {batch.clip_ids} have none.")
        c = self.config
        patches_BPK, valid_BP, _ = cut_patches(batch.frames, c.grid)
        kept = kept_patches(valid_BP, c.keep_patches if self.training else 1.0)
        x_BPD, valid_BP = self.embedding(patches_BPK, valid_BP, kept=kept)
        states_BPD = final_states(self.layers, self.norm, x_BPD, valid_BP)
        return Encoding(pooled_states(states_BPD, valid_BP, pool=c.pool), {"audio": states_BPD}, {"audio": valid_BP})

    # ---- The interface of every system ------------------------------------------------------------------------------

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        groups: dict[str, list[nn.Module]] = {"embedding": [self.embedding]}
        groups |= {f"layer_{i}": [layer] for i, layer in enumerate(self.layers)}
        groups["norm"] = [self.norm]
        return groups

    def import_pretrained(self, sources: Mapping[str, str]) -> dict[str, ImportReport]:
        """Fill the encoder from one "ast" or "deit" checkpoint (AST section 2.2): a folder or ``hub:ORG/NAME``."""
        patch = (self.config.grid.frames, self.config.grid.bins)
        return import_ast_or_deit(sources, self.embedding, self.layers, self.norm, patch=patch, name=self.name)

    @classmethod
    def matched(cls, config: AstConfig, processor: SpectrogramProcessor) -> AstConfig:
        if config.grid.num_mels != processor.config.num_mels:
            raise ValueError(
                f"`grid.num_mels` must be the processor's {processor.config.num_mels}, but is {config.grid.num_mels}."
            )
        return config

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[AstConfig, SpectrogramConfig]:
        processor = SpectrogramConfig(max_frames=max(1000, round(100 * min(longest_s, LONGEST_STARTER_S)) + 1))
        if num_clips < 20_000:
            few: dict[str, Any] = {"num_layers": 4, "table_frames": 512, "dropout": 0.1, "pool": "mean_std"}
            return AstConfig.tiny(grid=Grid(), **few), processor
        if num_clips < 200_000:
            return AstConfig.small(grid=Grid(), dropout=0.1), processor
        return AstConfig.base(grid=Grid()), processor


SYSTEM = Ast
