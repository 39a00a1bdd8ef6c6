"""Statistics of a clip and of its words, read by a support vector machine or logistic regression: `fit`'s small models.

What is unusual about it:

- It has no paper and no layers: a clip is one standardised vector (`sonolex.audio.statistics`), its transcript one
  TF-IDF vector of words and n-grams of letters; a readout of either, or of both concatenated, gives the answer.
- ``kernel="linear"`` is logistic regression, a linear SVM or ridge regression; ``kernel="rbf"`` keeps the support
  vectors. With ``pairs`` every two classes have a decision of their own, and the classes are ranked by their votes and
  then by their margins, as scikit-learn's SVC does (one against one, Knerr et al. 1990): the answer is the same.
- Scikit-learn fits it (`sonolex.doors.fit`); only numbers are saved, in safetensors. Trained by gradient, which
  nobody needs to do, it would be a radial-basis-function network.

The pooled vector is the standardised statistics followed by the outputs (log-odds, or standardised values), so that a
task's linear head only has to pass the outputs through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from sonolex.configs import one_of
from sonolex.processors.statistics import StatisticsProcessor, StatisticsProcessorConfig
from sonolex.systems.base import System, SystemConfig
from sonolex.types import Batch, Encoding

FARTHEST = 8.0  # deviations: one odd statistic of a new recording must not decide alone
MOST_SUPPORT = 1_000_000


@dataclass(frozen=True)
class StatisticsConfig(SystemConfig):
    """The readout's shape.

    Attributes:
        num_audio, num_terms: filled in from the processor.
        kernel: "linear" or "rbf".
        num_support: support vectors of "rbf".
        gamma: of exp(−gamma · squared distance).
        num_outputs: classes, tags, or 1 for a number.
        pairs: one decision for every two classes.
        text_scale: length of the TF-IDF vector beside statistics of deviation 1.
    """

    num_audio: int = 0
    num_terms: int = 0
    kernel: str = "linear"
    num_support: int = 0
    gamma: float = 0.0
    num_outputs: int = 2
    pairs: bool = False
    text_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("kernel", self.kernel, ("linear", "rbf"))
        if not 1 <= self.num_outputs <= 10_000 or self.num_support > MOST_SUPPORT:
            raise ValueError(
                f"`num_outputs` must be 1 to 10000, and `num_support` at most {MOST_SUPPORT}, but are not."
            )
        if self.kernel == "rbf" and not (self.num_support and self.gamma):
            raise ValueError("`num_support` and `gamma` must be above 0 with kernel 'rbf', but are not.")

    @property
    def num_decisions(self) -> int:
        """Numbers that the readout computes: one per output, or one per pair of outputs (two classes are one pair)."""
        return self.num_outputs * (self.num_outputs - 1) // 2 if self.pairs else self.num_outputs


class Statistics(System):
    """Standardised statistics and TF-IDF, and a readout."""

    name = "statistics"
    config_type = StatisticsConfig
    processor_type = StatisticsProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: StatisticsConfig
    centre_F: Tensor
    spread_F: Tensor
    idf_V: Tensor

    def __init__(self, config: StatisticsConfig):
        super().__init__()
        self.config = c = config
        width = c.num_audio + c.num_terms
        self.register_buffer("centre_F", torch.zeros(c.num_audio))
        self.register_buffer("spread_F", torch.ones(c.num_audio))
        self.register_buffer("idf_V", torch.ones(c.num_terms))
        if c.kernel == "rbf":
            self.support_ND = nn.Parameter(torch.randn(c.num_support, width))
        rows = c.num_support if c.kernel == "rbf" else width
        self.weight_DP = nn.Parameter(torch.randn(rows, c.num_decisions) / max(1, rows) ** 0.5)
        self.bias_P = nn.Parameter(torch.zeros(c.num_decisions))
        self.scale_C = nn.Parameter(torch.ones(c.num_outputs))
        self.offset_C = nn.Parameter(torch.zeros(c.num_outputs))
        # A model of audio alone accepts a transcript but does not read it, and vice versa.
        read = {n for n, size in (("audio", c.num_audio), ("text", c.num_terms)) if size}
        self.accepts = frozenset(m for m in type(self).accepts if m & read)  # type: ignore[misc]

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        return replace(config, num_audio=processor.config.num_audio, num_terms=len(processor.terms))

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[StatisticsConfig, StatisticsProcessorConfig]:
        return StatisticsConfig(), StatisticsProcessorConfig()

    @property
    def pooled_dim(self) -> int:
        return self.config.num_audio + self.config.num_outputs

    def encode(self, batch: Batch) -> Encoding:
        if batch.tokens is None and batch.frames is None:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        audio_BF = self._audio(batch)
        outputs_BC = self.outputs(torch.cat([audio_BF, self._terms(batch)], -1))
        return Encoding(torch.cat([audio_BF, outputs_BC], -1))

    def outputs(self, x_BD: Tensor) -> Tensor:
        """Return the outputs (B, C) of standardised vectors: scaled and shifted decisions."""
        return self.decisions(x_BD).to(self.scale_C) * self.scale_C + self.offset_C

    def decisions(self, x_BD: Tensor) -> Tensor:
        """Return (B, C) as scikit-learn's ``decision_function``; of two classes with ``pairs``, ∓ half of it."""
        # A sum over thousands of support vectors needs more digits than float32 has; "mps" has no float64.
        exact = torch.float64 if x_BD.device.type in ("cpu", "cuda") else x_BD.dtype
        x_BD = x_BD.to(exact)
        if self.config.kernel == "rbf":
            x_BD = torch.exp(-self.config.gamma * torch.cdist(x_BD, self.support_ND.to(exact)).square())
        found_BP = x_BD @ self.weight_DP.to(exact) + self.bias_P.to(exact)
        return ranked_by_votes(found_BP, self.config.num_outputs) if self.config.pairs else found_BP

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        return {"readout": [self]}

    def _audio(self, batch: Batch) -> Tensor:
        """Return standardised statistics (B, F); the mean of all clips, 0, for a clip without audio."""
        if batch.frames is None:
            assert batch.tokens is not None
            return self.scale_C.new_zeros(batch.tokens.valid.shape[0], self.config.num_audio)
        z_BF = (batch.frames.values[:, 0] - self.centre_F) / self.spread_F
        return z_BF.clamp(-FARTHEST, FARTHEST) * batch.frames.valid[:, :1]

    def _terms(self, batch: Batch) -> Tensor:
        """Return TF-IDF (B, V) with logarithmic counts, of length ``text_scale``; zeros for a clip without words."""
        rows = batch.frames if batch.tokens is None else batch.tokens
        assert rows is not None
        counts_BV = self.scale_C.new_zeros(rows.valid.shape[0], self.config.num_terms)
        if batch.tokens is None or not self.config.num_terms:
            return counts_BV
        tokens_BL, valid_BL, _ = batch.tokens
        counts_BV = counts_BV.scatter_add(1, tokens_BL, valid_BL.to(counts_BV))
        found_BV = torch.where(counts_BV > 0, 1 + counts_BV.clamp_min(1).log(), 0.0) * self.idf_V
        return found_BV / found_BV.norm(dim=1, keepdim=True).clamp_min(1e-12) * self.config.text_scale


def ranked_by_votes(found_BP: Tensor, num_classes: int) -> Tensor:
    """Return (B, C) from decisions of every two classes, above 0 for the first: votes, then margins of up to ± ⅓.

    As scikit-learn's ``decision_function_shape="ovr"``, for two classes the halved margin.
    """
    if num_classes == 2:
        return torch.cat([found_BP, -found_BP], -1) / 2
    votes = found_BP.new_zeros(len(found_BP), num_classes)
    margins = torch.zeros_like(votes)
    for place, (first, second) in enumerate(combinations(range(num_classes), 2)):
        found_B = found_BP[:, place]
        votes[:, first] += found_B >= 0
        votes[:, second] += found_B < 0
        margins[:, first] = margins[:, first] + found_B
        margins[:, second] = margins[:, second] - found_B
    return votes + margins / (3 * (margins.abs() + 1))


SYSTEM = Statistics
