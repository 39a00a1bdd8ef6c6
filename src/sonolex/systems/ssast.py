"""SSAST: Self-Supervised Audio Spectrogram Transformer (Gong et al., AAAI 2022), VCR-AST's baseline (reference D3).

What is unusual about it:

- The network must both *find* a hidden patch among the clip's other hidden patches (InfoNCE) and *draw* it (MSE, ten
  times its weight); the targets are the raw normalised patches themselves.
- Hidden patches are clusters, squares of 3 to 5 patches a side, or single frames, and about 78 % of all.
- The released code runs the two objectives in two passes with different masks; here they share one mask and one pass,
  which is twice as fast (``masks="separate"`` for the released way).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sonolex.audio.patches import cut_patches
from sonolex.configs import one_of
from sonolex.nn.embeddings import HiddenPatch
from sonolex.nn.transformer import initialise_truncated
from sonolex.objectives import masked
from sonolex.systems._spectrogram_transformer import (
    SPECIAL_TOKENS,
    SpectrogramTransformer,
    TransformerConfig,
    hide_patches,
)
from sonolex.types import Batch, Term


@dataclass(frozen=True)
class SsastConfig(TransformerConfig):
    """SSAST-Base with 16 × 16 patches. Published: 400 of 512 hidden; ESC-50: 250 (thesis) of 256.

    Attributes:
        hidden_share: of a clip's patches.
        sampler: "cluster", "ssast_code" (released clusters and their bias, reference D7) or "uniform" (frame patches).
        shortest_side, longest_side: of a cluster, in patches.
        nce_axis: "paper" (each prediction against all hidden patches) or "code" (each patch against all predictions).
        mse_weight: of drawing beside finding. Published: 10.
        masks: "shared" or "separate" (one mask and pass for each objective).
    """

    hidden_share: float = 400 / 512
    sampler: str = "cluster"
    shortest_side: int = 3
    longest_side: int = 5
    nce_axis: str = "paper"
    mse_weight: float = 10.0
    masks: str = "shared"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("sampler", self.sampler, ("cluster", "ssast_code", "uniform"))
        one_of("nce_axis", self.nce_axis, ("paper", "code"))
        one_of("masks", self.masks, ("shared", "separate"))


class Ssast(SpectrogramTransformer):
    """The encoder, a vector for hidden patches, and one head for each objective."""

    name = "ssast"
    config_type = SsastConfig
    objectives = ("info_nce", "mse")
    config: SsastConfig

    def __init__(self, config: SsastConfig):
        super().__init__(config)
        self.hidden_patch = HiddenPatch(config.width)
        self.find_head = _head(config.width, config.grid.size)
        self.draw_head = _head(config.width, config.grid.size)
        initialise_truncated(self.find_head)
        initialise_truncated(self.draw_head)

    def corrupt(self, batch: Batch) -> Batch:
        assert batch.frames_valid_BT is not None
        c, lengths = self.config, batch.frames_valid_BT.sum(1).tolist()
        generators = [torch.Generator().manual_seed(seed) for seed in batch.seeds]
        options = {"share": c.hidden_share, "sampler": c.sampler, "sides": (c.shortest_side, c.longest_side)}
        find_BP = draw_BP = hide_patches(c.grid, lengths, generators, **options)
        if c.masks == "separate":
            draw_BP = hide_patches(c.grid, lengths, generators, **options)
        counts = {"info_nce": float(find_BP.sum()), "mse": float(draw_BP.sum()) * c.grid.size}
        return batch.adding(extras={"find_BP": find_BP, "draw_BP": draw_BP}, counts=counts)

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        assert batch.frames_BTF is not None and batch.frames_valid_BT is not None
        patches_BPK, valid_BP = cut_patches(batch.frames_BTF, batch.frames_valid_BT, self.config.grid)
        find_BP, draw_BP = batch.extras["find_BP"], batch.extras["draw_BP"]
        found_BPD = self._hidden_states(patches_BPK, valid_BP, find_BP)
        drawn_BPD = found_BPD
        if self.config.masks == "separate":
            drawn_BPD = self._hidden_states(patches_BPK, valid_BP, draw_BP)
        info_nce = masked.patch_info_nce_sum(self.find_head(found_BPD), patches_BPK, find_BP, axis=self.config.nce_axis)
        mse = masked.mse_sum(self.draw_head(drawn_BPD[draw_BP]), patches_BPK[draw_BP])
        return {
            "info_nce": Term(info_nce, batch.counts["info_nce"]),
            "mse": Term(mse, batch.counts["mse"], self.config.mse_weight),
        }

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        return super().layer_groups() | {"pretraining_heads": [self.hidden_patch, self.find_head, self.draw_head]}

    def _hidden_states(self, patches_BPK: Tensor, valid_BP: Tensor, chosen_BP: Tensor) -> Tensor:
        embedded = self.embedding(
            patches_BPK, valid_BP, replaced_BP=chosen_BP, replacement_D=self.hidden_patch.vector_D
        )
        return self.states(*embedded)[0][:, SPECIAL_TOKENS:]


def _head(width: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_outputs))


SYSTEM = Ssast
