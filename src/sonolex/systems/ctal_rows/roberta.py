"""RoBERTa: a transformer over words that predicts hidden ones (Liu et al. 2019).

A row of CTAL's table 4, and the text half of another (`late_fusion`).
"""

from __future__ import annotations

from dataclasses import dataclass

from sonolex.nn.transformer import PostNormLayer
from sonolex.systems.ctal import Ctal, States, encoding_layers, linguistic_embedding, through
from sonolex.systems.ctal_rows.base import CtalRowConfig
from sonolex.types import Padded


@dataclass(frozen=True)
class RobertaConfig(CtalRowConfig):
    """Sizes; `base` is the published one of twelve layers."""

    objectives: tuple[str, ...] = ("mlm",)

    @classmethod
    def base(cls, **changes: object) -> RobertaConfig:
        """Return twelve layers of 768, as published."""
        return cls(**({"num_layers": 12} | changes))  # type: ignore[arg-type]


class Roberta(Ctal):
    """Words, self-attention, and one vector of start token and maximum."""

    name = "roberta"
    config_type = RobertaConfig
    accepts = frozenset({frozenset({"text"})})
    config: RobertaConfig

    def build_encoders(self) -> None:
        self.text_embedding = linguistic_embedding(self.config)
        self.text_layers = encoding_layers(self.config, PostNormLayer)

    def states(self, tokens: Padded | None, frames: Padded | None) -> States:
        """Return the states of words, the only stream."""
        return (
            {}
            if tokens is None
            else {"text": through(self.text_layers, self.text_embedding(tokens.values), tokens.valid)}
        )


SYSTEM = Roberta
