"""SSAST: Self-Supervised Audio Spectrogram Transformer (Gong, Lai, Chung and Glass, AAAI 2022).

What is unusual about it:

- The network of AST must both *find* a hidden patch among the clip's other hidden patches (InfoNCE, eq. 1) and *draw*
  it (mean squared error, eq. 2, ten times its weight); the targets are the raw normalised patches themselves.
- Hidden patches are clusters, squares of 3 to 5 patches a side, or single frames, and about 78 % of all.
- The released code runs the two objectives in two passes with different masks; here they share one mask and one pass,
  which is twice as fast (``masks="separate"`` for the released way).

VCR-AST is compared with it (VCR-AST section 3.4.1 and table 5.3). "Code" is
https://github.com/YuanGongND/ssast. Formulas are in `sonolex.objectives`: `corruption` (which patches are hidden) and
`masked` (both losses).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sonolex.audio.patches import Grid, cut_patches
from sonolex.configs import one_of
from sonolex.nn.embeddings import HiddenPatch, PatchEmbedding
from sonolex.nn.spectrogram_transformer import (
    SPECIAL_TOKENS,
    final_states,
    kept_patches,
    pooled_states,
    pre_norm_layers,
)
from sonolex.nn.transformer import initialise_truncated
from sonolex.objectives import masked
from sonolex.objectives.corruption import hide_patches
from sonolex.places import at_places, places_where
from sonolex.pretrained.ast import ast_sizes, import_ast_or_deit
from sonolex.pretrained.base import ImportReport
from sonolex.processors.spectrogram import SpectrogramConfig, SpectrogramProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import Batch, Encoding, Term


@dataclass(frozen=True)
class SsastConfig(SystemConfig):
    """SSAST-Base with 16 × 16 patches that do not overlap in pre-training.

    Attributes:
        grid: 16 × 16 ("patch") or 2 × 128 ("frame"); fine-tuning may overlap them (the code: a stride of 10).
        table_frames: length that the position table is made for; longer clips stretch it.
        num_layers, width, num_heads, ffn_width: AST-Base's; `small` and `tiny` are SSAST's.
        dropout, attention_dropout, norm_eps: AST's code.
        patch_norm: "none" (published: a linear projection), or "dual" (see `NormalisedPatches`).
        keep_patches: share of each clip's patches that enters the encoder in fine-tuning, drawn anew every time
            (patchout, Koutini et al. 2022). Published: all.
        pool: "mean" of the patches (published; see VCR-AST section 5.4), their "mean_std", or "tokens".
        attention: "exact", or "random_features" with ``num_random_features`` per head.
        hidden_share: of a clip's patches. Published: 400 of 512; on ESC-50: 250 of 256 (VCR-AST section 5.2.1).
        sampler: "cluster" (algorithm 1), "ssast_code" (the code's clusters and their bias, see `choose_patches`) or
            "uniform" (frame patches).
        shortest_side, longest_side: C of a cluster, in patches: 3 to 5.
        nce_axis: "paper" (eq. 1: each prediction against all hidden patches) or "code" (each patch against all
            predictions).
        mse_weight: λ of eq. 3, 10.
        masks: "shared" or "separate" (one mask and pass for each objective, as the code has it).
    """

    grid: Grid = field(default_factory=lambda: Grid(frames=16, bins=16, num_mels=128))
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
    hidden_share: float = 400 / 512
    sampler: str = "cluster"
    shortest_side: int = 3
    longest_side: int = 5
    nce_axis: str = "paper"
    mse_weight: float = 10.0
    masks: str = "shared"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("attention", self.attention, ("exact", "random_features"))
        one_of("pool", self.pool, ("mean", "mean_std", "tokens"))
        one_of("patch_norm", self.patch_norm, ("none", "dual"))
        if not 0 < self.keep_patches <= 1:
            raise ValueError(f"`keep_patches` must be above 0 and at most 1, but is {self.keep_patches}.")
        one_of("sampler", self.sampler, ("cluster", "ssast_code", "uniform"))
        one_of("nce_axis", self.nce_axis, ("paper", "code"))
        one_of("masks", self.masks, ("shared", "separate"))

    @classmethod
    def base(cls, **changes: Any) -> SsastConfig:
        """Return 12 layers of 768; the code counts 88.8M parameters, 1.5M of them in two heads it never uses."""
        return cls(**changes)

    @classmethod
    def like(cls, place: str | Path, **changes: Any) -> SsastConfig:
        """Return the sizes of an AST, SSAST or DeiT checkpoint (file, folder or ``hub:ORG/NAME``), to start from it."""
        sizes = ast_sizes(place)
        sizes["grid"] = Grid(**sizes["grid"])
        return cls(**(sizes | changes))

    @classmethod
    def small(cls, **changes: Any) -> SsastConfig:
        """Return 12 layers of 384."""
        sizes: dict[str, Any] = {"width": 384, "num_heads": 6, "ffn_width": 1536}
        return cls(**(sizes | changes))

    @classmethod
    def tiny(cls, **changes: Any) -> SsastConfig:
        """Return 12 layers of 192."""
        sizes: dict[str, Any] = {"width": 192, "num_heads": 3, "ffn_width": 768}
        return cls(**(sizes | changes))


class Ssast(System):
    """AST's encoder, a vector for hidden patches, and one head for each objective."""

    name = "ssast"
    config_type = SsastConfig
    processor_type = SpectrogramProcessor
    accepts = frozenset({frozenset({"audio"})})
    objectives = ("info_nce", "mse")
    config: SsastConfig

    def __init__(self, config: SsastConfig):
        super().__init__()
        self.config = c = config
        # AST: linear projection of each patch, class and distillation token, learned positions, ViT's layers
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
        # The learned mask embedding, and two-layer heads that predict a patch's values
        self.hidden_patch = HiddenPatch(c.width)
        self.find_head = _head(c.width, c.grid.size)
        self.draw_head = _head(c.width, c.grid.size)
        initialise_truncated(self.find_head)
        initialise_truncated(self.draw_head)

    # ---- Masked spectrogram patch modelling -------------------------------------------------------------------------

    def corrupt(self, batch: Batch) -> Batch:
        """Choose the patches that are hidden, in clusters of one size a clip (algorithm 1), from each clip's seed."""
        assert batch.frames is not None and batch.frames.lengths is not None
        c = self.config
        columns_B = [c.grid.num_columns(n) for n in batch.frames.lengths]
        generators = [torch.Generator().manual_seed(seed) for seed in batch.seeds]
        options = {"share": c.hidden_share, "sampler": c.sampler, "sides": (c.shortest_side, c.longest_side)}
        find_BP = draw_BP = hide_patches(columns_B, c.grid.num_rows, generators, **options)
        if c.masks == "separate":
            draw_BP = hide_patches(columns_B, c.grid.num_rows, generators, **options)
        counts = {"info_nce": float(find_BP.sum()), "mse": float(draw_BP.sum()) * c.grid.size}
        extras = {"find_BP": find_BP, "find_N": places_where(find_BP)}
        extras |= {"draw_BP": draw_BP, "draw_N": places_where(draw_BP)}
        return batch.adding(extras=extras, counts=counts)

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        """Return L_d of finding (InfoNCE, eq. 1) and L_g of drawing (squared error, eq. 2); L = L_d + λ L_g (eq. 3)."""
        assert batch.frames is not None
        c = self.config
        patches_BPK, valid_BP, _ = cut_patches(batch.frames, c.grid)
        find_BP, draw_BP = batch.extras["find_BP"], batch.extras["draw_BP"]
        found_BPD = self._hidden_states(patches_BPK, valid_BP, find_BP)
        drawn_BPD = found_BPD
        if c.masks == "separate":
            drawn_BPD = self._hidden_states(patches_BPK, valid_BP, draw_BP)
        guesses_BPK = self.find_head(found_BPD)
        info_nce = masked.patch_info_nce_sum(guesses_BPK, patches_BPK, find_BP, batch.extras["find_N"], axis=c.nce_axis)
        draw_N = batch.extras["draw_N"]
        mse = masked.mse_sum(self.draw_head(at_places(drawn_BPD, draw_N)), at_places(patches_BPK, draw_N))
        return {
            "info_nce": Term(info_nce, batch.counts["info_nce"], weight=1.0),
            "mse": Term(mse, batch.counts["mse"], weight=c.mse_weight),  # λ
        }

    def _hidden_states(self, patches_BPK: Tensor, valid_BP: Tensor, hidden_BP: Tensor) -> Tensor:
        """Return the states of patches (B, P, D) where the hidden ones were replaced by the mask embedding."""
        x_BPD, valid_BP = self.embedding(
            patches_BPK, valid_BP, replaced_BP=hidden_BP, replacement_D=self.hidden_patch.vector_D
        )
        return final_states(self.layers, self.norm, x_BPD, valid_BP)[:, SPECIAL_TOKENS:]

    # ---- Fine-tuning: the mean of the patches -----------------------------------------------------------------------

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
        heads: list[nn.Module] = [self.hidden_patch, self.find_head, self.draw_head]
        return groups | {"norm": [self.norm], "pretraining_heads": heads}

    def import_pretrained(self, sources: Mapping[str, str]) -> dict[str, ImportReport]:
        """Fill the encoder from one "ast", "ssast" or "deit" checkpoint: a file, a folder or ``hub:ORG/NAME``."""
        patch = (self.config.grid.frames, self.config.grid.bins)
        # The names of the code: the discriminative head finds, the generative one draws
        objectives = {"mask_embed": self.hidden_patch, "cpredlayer": self.find_head, "gpredlayer": self.draw_head}
        encoder = (self.embedding, self.layers, self.norm)
        return import_ast_or_deit(sources, *encoder, patch=patch, name=self.name, objectives=objectives)

    @classmethod
    def matched(cls, config: SsastConfig, processor: SpectrogramProcessor) -> SsastConfig:
        if config.grid.num_mels != processor.config.num_mels:
            raise ValueError(
                f"`grid.num_mels` must be the processor's {processor.config.num_mels}, but is {config.grid.num_mels}."
            )
        return config

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[SsastConfig, SpectrogramConfig]:
        processor = SpectrogramConfig(max_frames=max(1000, round(100 * min(longest_s, LONGEST_STARTER_S)) + 1))
        if num_clips < 20_000:
            few: dict[str, Any] = {"num_layers": 4, "table_frames": 512, "dropout": 0.1, "pool": "mean_std"}
            return SsastConfig.tiny(**few), processor
        return (SsastConfig.small(dropout=0.1) if num_clips < 200_000 else SsastConfig.base()), processor


def _head(width: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_outputs))


SYSTEM = Ssast
