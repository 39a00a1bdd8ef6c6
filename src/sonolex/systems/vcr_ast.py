"""VCR-AST: VICReg pre-training of an Audio Spectrogram Transformer (source document 003, reference D).

What is unusual about it:

- Two random views of a clip must have similar vectors (invariance), every dimension must vary over clips (variance) and
  no two dimensions may vary together (covariance). Nothing is drawn, nothing is contrasted, and no clip is a negative.
- Almost all patches are hidden as well (250 of 256), which SSAST needs as a task and VICReg as a view.
- The objective looks at a whole batch. At the thesis's batch of 12 and width of 4096 its least value is 21.19, because
  a covariance of 12 rows has rank 11; the thesis stopped at 21.5 and called it convergence (reference D7). Here the
  effective batch is as large as wanted (accumulation and processes are joined), and `advice` says what the floor is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from sonolex.audio.features import AUDIOSET_STD
from sonolex.audio.patches import cut_patches
from sonolex.audio.views import Views
from sonolex.configs import one_of
from sonolex.nn.embeddings import HiddenPatch
from sonolex.nn.heads import Expander
from sonolex.nn.transformer import initialise_truncated
from sonolex.objectives import vicreg
from sonolex.processors.base import pad_rows
from sonolex.systems._spectrogram_transformer import (
    SpectrogramTransformer,
    TransformerConfig,
    hide_patches,
)
from sonolex.types import Batch, Term

VIEWS = ("first", "second")
WIDE = 8  # an expander this many times wider than the batch leaves the loss mostly floor


@dataclass(frozen=True)
class VcrAstConfig(TransformerConfig):
    """VCR-AST as the thesis trained it on ESC-50 (chapter 5), except for the clamped masks.

    Attributes:
        hidden_share: of each view's patches. Published: 250 of 256.
        hidden_patches: "replaced" by a learned vector (published) or "dropped" before the encoder.
        sampler: how patches are chosen (see `choose_patches`).
        freq_mask_bins, time_mask_frames: a view's masks have a width below a parameter drawn in 1 … this many.
        mask_range: "axis" bounds the parameter by half the axis, "published" does not: 200 on 128 bands erases 7.5 % of
            all views (reference D7).
        views: further changes of a view, before its masks: time stretch (``speed``, the thesis's future work), crops,
            level, equaliser. Default: none, as published.
        log_units: natural-log power in one unit of the normalised input, 2 · std; filled in from the processor.
        expander_width: of all three layers.
        reduction: "code" or "paper", see `sonolex.objectives.vicreg`.
        invariance_weight, variance_weight, covariance_weight: 25, 25, 1 (eq. 4.4).
    """

    hidden_share: float = 250 / 256
    hidden_patches: str = "replaced"
    sampler: str = "uniform"
    freq_mask_bins: int = 200
    time_mask_frames: int = 200
    mask_range: str = "axis"
    views: Views = field(default_factory=Views)
    log_units: float = 2 * AUDIOSET_STD
    expander_width: int = 4096
    reduction: str = "code"
    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("hidden_patches", self.hidden_patches, ("replaced", "dropped"))
        one_of("sampler", self.sampler, ("cluster", "ssast_code", "uniform"))
        one_of("mask_range", self.mask_range, ("axis", "published"))
        one_of("reduction", self.reduction, ("code", "paper"))
        if not 0 <= self.hidden_share < 1:
            raise ValueError(f"`hidden_share` must be at least 0 and below 1, but is {self.hidden_share}.")


class VcrAst(SpectrogramTransformer):
    """The encoder, two views of every clip, and the expander that VICReg looks at."""

    name = "vcr_ast"
    config_type = VcrAstConfig
    objectives = joint_objectives = ("invariance", "variance", "covariance")
    config: VcrAstConfig

    def __init__(self, config: VcrAstConfig):
        super().__init__(config)
        replaces = config.hidden_patches == "replaced" and config.hidden_share > 0
        self.hidden_patch = HiddenPatch(config.width) if replaces else None
        self.expander = Expander(self.pooled_dim, config.expander_width)
        initialise_truncated(self.expander)

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        return replace(super().matched(config, processor), log_units=2 * processor.config.std)

    def corrupt(self, batch: Batch) -> Batch:
        assert batch.frames_BTF is not None and batch.frames_valid_BT is not None
        extras: dict[str, Tensor] = {}
        generators = [Generator().manual_seed(seed) for seed in batch.seeds]
        lengths = batch.frames_valid_BT.sum(1).tolist()
        for view in VIEWS:
            seen = [
                self._view(frames_TF[:length], generator)
                for frames_TF, length, generator in zip(batch.frames_BTF, lengths, generators, strict=True)
            ]
            extras[f"{view}_BTF"], extras[f"{view}_valid_BT"] = pad_rows(seen, num_features=self.config.grid.num_mels)
            extras[f"{view}_hidden_BP"] = self._hidden([len(s) for s in seen], generators)
        return batch.adding(extras=extras)

    def pretraining_rows(self, batch: Batch) -> dict[str, Tensor]:
        return {view: self._view_vector(batch.extras, view) for view in VIEWS}

    def joint_losses(self, rows: Mapping[str, Tensor]) -> dict[str, Term]:
        c = self.config
        first_ND, second_ND = (self.expander(rows[view]) for view in VIEWS)
        terms = vicreg.terms(first_ND, second_ND, reduction=c.reduction)
        weights = {n: getattr(c, f"{n}_weight") for n in self.objectives}
        journaled = {f"expander_{n}": v for n, v in vicreg.spread(first_ND).items()}
        journaled |= {f"rows_{n}": v for n, v in vicreg.spread(rows["first"]).items()}
        floor = vicreg.loss_floor(
            len(first_ND),
            c.expander_width,
            variance_weight=c.variance_weight,
            covariance_weight=c.covariance_weight,
            reduction=c.reduction,
        )
        observed = {
            n: Term(torch.tensor(v, device=first_ND.device), 1.0, 0.0)
            for n, v in (journaled | {"floor": floor}).items()
        }
        return {n: Term(terms[n], 1.0, weights[n]) for n in self.objectives} | observed

    def advice(self, clips_per_step: int) -> list[str]:
        c = self.config
        if c.expander_width < WIDE * clips_per_step:
            return []
        floor = vicreg.loss_floor(clips_per_step, c.expander_width, reduction=c.reduction)
        return [
            f"expander_width ({c.expander_width}) is {c.expander_width / clips_per_step:.0f} times the effective batch "
            f"({clips_per_step} clips): variance + covariance cannot fall below {floor:.2f}, and most dimensions will "
            "collapse. Raise `accumulate`, or narrow the expander."
        ]

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        heads: list[nn.Module] = [self.expander]
        if self.hidden_patch is not None:
            heads.append(self.hidden_patch)
        return super().layer_groups() | {"pretraining_heads": heads}

    def _view_vector(self, extras: Mapping[str, Tensor], view: str) -> Tensor:
        patches_BPK, valid_BP = cut_patches(extras[f"{view}_BTF"], extras[f"{view}_valid_BT"], self.config.grid)
        hidden_BP = extras[f"{view}_hidden_BP"]
        if self.hidden_patch is None:
            embedded = self.embedding(patches_BPK, valid_BP, keep_BP=~hidden_BP)
        else:
            vector_D = self.hidden_patch.vector_D
            embedded = self.embedding(patches_BPK, valid_BP, replaced_BP=hidden_BP, replacement_D=vector_D)
        return self.pooled(*self.states(*embedded))

    def _view(self, frames_TF: Tensor, generator: Generator) -> Tensor:
        c = self.config
        if c.views != Views():  # they act on log power; an offset of it does not matter to any of them
            frames_TF = c.views.apply(frames_TF * c.log_units, generator) / c.log_units
        frames_TF = self._mask_axis(frames_TF, 1, c.freq_mask_bins, generator)
        return self._mask_axis(frames_TF, 0, c.time_mask_frames, generator)

    def _mask_axis(self, frames_TF: Tensor, axis: int, largest: int, generator: Generator) -> Tensor:
        """Set consecutive frames (axis 0) or bands (axis 1) to the corpus mean, 0, as torchaudio's masking does."""
        size = frames_TF.shape[axis]
        if self.config.mask_range == "axis":
            largest = min(largest, size // 2)
        if largest < 1:
            return frames_TF
        parameter = 1 + int(largest * _uniform(generator))
        width = min(size, int(parameter * _uniform(generator)))
        start = int((size - width + 1) * _uniform(generator))
        masked_TF = frames_TF.clone()
        masked_TF.narrow(axis, start, width).zero_()
        return masked_TF

    def _hidden(self, lengths: list[int], generators: list[Generator]) -> Tensor:
        """Return hidden_BP of one view; a clip of one patch keeps it."""
        c = self.config
        patches_B1 = torch.tensor([[c.grid.num_patches(n)] for n in lengths])
        if not c.hidden_share:
            return torch.zeros(len(lengths), int(patches_B1.max()), dtype=torch.bool)
        hidden_BP = hide_patches(c.grid, lengths, generators, share=c.hidden_share, sampler=c.sampler)
        return hidden_BP & (patches_B1 > 1)


def _uniform(generator: Generator) -> float:
    return float(torch.rand((), generator=generator))


SYSTEM = VcrAst
