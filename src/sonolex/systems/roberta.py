"""RoBERTa: a transformer over words that predicts those hidden from it (Liu et al. 2019; reference C6).

One of CTAL's rows, and the text half of another (`late_fusion`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sonolex.nn.transformer import PostNormLayer
from sonolex.systems._masked_streams import MaskedStreams, MaskedStreamsConfig, States, through


@dataclass(frozen=True)
class RobertaConfig(MaskedStreamsConfig):
    """Sizes; `base` is the published one of twelve layers."""

    objectives: tuple[str, ...] = ("mlm",)

    @classmethod
    def base(cls, **changes: object) -> RobertaConfig:
        """Return twelve layers of 768, as published."""
        return cls(**({"num_layers": 12} | changes))  # type: ignore[arg-type]


class Roberta(MaskedStreams):
    """Words, self-attention, and one vector of start token and maximum."""

    name = "roberta"
    config_type = RobertaConfig
    accepts = frozenset({frozenset({"text"})})
    config: RobertaConfig

    def __init__(self, config: RobertaConfig):
        super().__init__(config)
        self.text_embedding = self.new_text_embedding()
        self.text_layers = self.new_layers(PostNormLayer)
        self.finish()

    def states(self, tokens: tuple[Tensor, Tensor] | None, frames: tuple[Tensor, Tensor] | None) -> States:
        """Return the states of words; there are no others."""
        return {} if tokens is None else {"text": through(self.text_layers, self.text_embedding(tokens[0]), tokens[1])}


SYSTEM = Roberta
