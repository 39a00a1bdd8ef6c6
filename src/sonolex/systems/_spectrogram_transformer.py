"""The Audio Spectrogram Transformer's input and encoder, which AST, SSAST and VCR-AST share. Source: reference D1, D2.

A clip is Kaldi filter banks, normalised with two numbers per corpus, cut into patches; the encoder is a pre-norm ViT
with class and distillation token. Clips keep their own length: padding is never attended to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sonolex.audio.patches import Grid, cut_patches
from sonolex.configs import one_of
from sonolex.nn import backbones, published
from sonolex.nn.dropout import random_numbers
from sonolex.nn.embeddings import PatchEmbedding
from sonolex.nn.linear_attention import RandomFeatureAttention
from sonolex.nn.pooling import masked_mean, masked_mean_std
from sonolex.nn.transformer import PreNormLayer, attends_to_valid, initialise_truncated
from sonolex.objectives.corruption import choose_patches
from sonolex.processors.spectrogram import SpectrogramConfig, SpectrogramProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import Batch, Encoding

SPECIAL_TOKENS = 2
"""Class and distillation token, before the patches."""


@dataclass(frozen=True)
class TransformerConfig(SystemConfig):
    """Sizes and variants of the encoder. Defaults are AST-Base.

    Attributes:
        grid: patches; 16 × 16 ("patch") or 2 × 128 ("frame"), with overlap or without.
        table_frames: length that the position table is made for; longer clips stretch it.
        attention: "exact", or "random_features" (linear in the number of patches; VCR-AST section 5.8.1), with
            ``num_random_features`` per head.
        patch_norm: "none" (published: a linear projection), or "dual" (see `NormalisedPatches`).
        keep_patches: share of each clip's patches that enters the encoder in training, drawn anew every time (patchout,
            Koutini et al. 2022): cheaper steps, and it regularises. Evaluation sees all.
        pool: "mean" of the patches (SSAST, VCR-AST), their "mean_std", or "tokens" (mean of class and distillation
            token, AST).
    """

    grid: Grid = field(default_factory=Grid)
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
    pool: str = "mean"
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
    def base(cls, **changes: Any) -> Any:
        """Return 12 layers of 768 (86M parameters at 1024 frames)."""
        return cls(**changes)

    @classmethod
    def small(cls, **changes: Any) -> Any:
        """Return 12 layers of 384."""
        sizes: dict[str, Any] = {"width": 384, "num_heads": 6, "ffn_width": 1536}
        return cls(**(sizes | changes))

    @classmethod
    def tiny(cls, **changes: Any) -> Any:
        """Return 12 layers of 192."""
        sizes: dict[str, Any] = {"width": 192, "num_heads": 3, "ffn_width": 768}
        return cls(**(sizes | changes))


def hide_patches(
    grid: Grid,
    lengths: Sequence[int],
    generators: Sequence[Generator],
    *,
    share: float,
    sampler: str,
    sides: tuple[int, int] = (3, 5),
) -> Tensor:
    """Return hidden_BP: the patches `choose_patches` draws for clips of these lengths, padded to the longest."""
    columns_B = [grid.num_columns(n) for n in lengths]
    rows = []
    for columns, generator in zip(columns_B, generators, strict=True):
        hidden_P = choose_patches(columns, grid.num_rows, share, sampler=sampler, sides=sides, generator=generator)
        rows.append(F.pad(hidden_P, (0, (max(columns_B) - columns) * grid.num_rows)))
    return torch.stack(rows)


class SpectrogramTransformer(System):
    """Patches to states and one vector per clip: everything but objectives."""

    processor_type = SpectrogramProcessor
    config_type: ClassVar[type[TransformerConfig]]
    accepts = frozenset({frozenset({"audio"})})
    config: TransformerConfig

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = c = config
        columns = c.grid.num_columns(c.table_frames)
        self.embedding = PatchEmbedding(
            c.grid.size, columns, c.grid.num_rows, c.width, dropout=c.dropout, norm=c.patch_norm
        )
        part = {"dropout": c.dropout, "attention_dropout": c.attention_dropout, "eps": c.norm_eps}
        sizes = (c.width, c.num_heads, c.ffn_width)
        self.layers = nn.ModuleList(
            PreNormLayer(*sizes, attention=self._attention(), **part) for _ in range(c.num_layers)
        )
        self.norm = nn.LayerNorm(c.width, eps=c.norm_eps)
        initialise_truncated(self)

    def _attention(self) -> nn.Module | None:
        c = self.config
        if c.attention == "exact":
            return None
        return RandomFeatureAttention(c.width, c.num_heads, num_features=c.num_random_features)

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        if config.grid.num_mels != processor.config.num_mels:
            raise ValueError(
                f"`grid.num_mels` must be the processor's {processor.config.num_mels}, but is {config.grid.num_mels}."
            )
        return config

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[Any, Any]:
        max_frames = max(1000, round(100 * min(longest_s, LONGEST_STARTER_S)) + 1)
        if num_clips < 20_000:
            sizes: dict[str, Any] = {
                "num_layers": 4,
                "width": 192,
                "num_heads": 3,
                "ffn_width": 768,
                "pool": "mean_std",
            }
            config = cls.config_type(grid=Grid(), table_frames=512, dropout=0.1, **sizes)
        elif num_clips < 200_000:
            config = cls.config_type.small(grid=Grid(), dropout=0.1)
        else:
            config = cls.config_type.base(grid=Grid())
        return config, SpectrogramConfig(max_frames=max_frames)

    @property
    def pooled_dim(self) -> int:
        return self.config.width * (2 if self.config.pool == "mean_std" else 1)

    def encode(self, batch: Batch) -> Encoding:
        if batch.frames_BTF is None or batch.frames_valid_BT is None:
            raise ValueError(f"a batch must have audio for {self.name}, but clips {batch.clip_ids} have none.")
        patches_BPK, valid_BP = cut_patches(batch.frames_BTF, batch.frames_valid_BT, self.config.grid)
        embedded = self.embedding(patches_BPK, valid_BP, keep_BP=self._kept(valid_BP))
        states_BPD, states_valid_BP = self.states(*embedded)
        return Encoding(self.pooled(states_BPD, states_valid_BP), {"audio": states_BPD}, {"audio": states_valid_BP})

    def _kept(self, valid_BP: Tensor) -> Tensor | None:
        """Return which patches a training step sees: at least one of every clip; None for all."""
        if not self.training or self.config.keep_patches == 1:
            return None
        drawn_BP = random_numbers(valid_BP).masked_fill(~valid_BP, torch.iinfo(torch.int64).max)
        count_B1 = (valid_BP.sum(1, keepdim=True) * self.config.keep_patches).ceil()
        return drawn_BP.argsort(1).argsort(1) < count_B1

    def states(self, x_BPD: Tensor, valid_BP: Tensor) -> tuple[Tensor, Tensor]:
        """Return the final states of embedded tokens, and their validity."""
        attends_B1PP = attends_to_valid(valid_BP)
        for layer in self.layers:
            x_BPD = layer(x_BPD, attends_B1PP)
        return self.norm(x_BPD), valid_BP

    def pooled(self, states_BPD: Tensor, valid_BP: Tensor) -> Tensor:
        """Return one vector per clip from states with class and distillation token first."""
        if self.config.pool == "tokens":
            return states_BPD[:, :SPECIAL_TOKENS].mean(1)
        patches_BPD, patches_valid_BP = states_BPD[:, SPECIAL_TOKENS:], valid_BP[:, SPECIAL_TOKENS:]
        pool = masked_mean if self.config.pool == "mean" else masked_mean_std
        return pool(patches_BPD, patches_valid_BP)

    def import_pretrained(self, sources: Mapping[str, str]) -> dict[str, backbones.ImportReport]:
        """Fill the encoder from one "ast" or "deit" checkpoint: a local folder or ``hub:ORG/NAME``."""
        reports = {}
        for part, place in sources.items():
            if part not in ("ast", "deit"):
                raise ValueError(f"`pretrained` must name ast or deit for {self.name}, but names {part!r}.")
            theirs = published.read_sizes(place, _AST_SIZES if part == "ast" else _DEIT_SIZES)
            if part == "ast":
                patch = theirs["patch_size"]
                columns = 1 + (theirs["max_length"] - patch) // theirs["time_stride"]
                rows = 1 + (theirs["num_mel_bins"] - patch) // theirs["frequency_stride"]
            else:
                columns = rows = theirs["image_size"] // theirs["patch_size"]
            weights = published.read_weights(place)
            prefix = "audio_spectrogram_transformer." if part == "ast" else "deit."
            reports[part] = backbones.import_ast(
                self.embedding,
                self.layers,
                self.norm,
                weights,
                size=(columns, rows),
                patch=(self.config.grid.frames, self.config.grid.bins),
                prefix=prefix if any(k.startswith(prefix) for k in weights) else "",
            )
        return reports

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        groups: dict[str, list[nn.Module]] = {"embedding": [self.embedding]}
        groups |= {f"layer_{i}": [layer] for i, layer in enumerate(self.layers)}
        groups["norm"] = [self.norm]
        return groups


_AST_SIZES = ("patch_size", "max_length", "time_stride", "num_mel_bins", "frequency_stride")
_DEIT_SIZES = ("image_size", "patch_size")
