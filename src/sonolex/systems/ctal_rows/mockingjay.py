"""Mockingjay: a transformer over frames that reconstructs hidden ones (Liu et al., ICASSP 2020).

A row of CTAL's table 4, and the audio half of another (`late_fusion`). Its input is CTAL's 160 values, or as published
80 mel bands with two derivatives (``LogMelAndTokensConfig(derivatives=2)``) in steps of three frames.

Differs: CTAL's segments are hidden, not runs of seven frames, so that rows differ by the model alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from sonolex.nn.transformer import PostNormLayer
from sonolex.systems.ctal import Ctal, States, audio_embedding, encoding_layers, through
from sonolex.systems.ctal_rows.base import CtalRowConfig
from sonolex.types import Padded


@dataclass(frozen=True)
class MockingjayConfig(CtalRowConfig):
    """Sizes; by default three layers of BERT's base width, as published."""

    objectives: tuple[str, ...] = ("mcam",)


class Mockingjay(Ctal):
    """Frames, self-attention, and one vector by attention and maximum."""

    name = "mockingjay"
    config_type = MockingjayConfig
    accepts = frozenset({frozenset({"audio"})})
    config: MockingjayConfig

    def build_encoders(self) -> None:
        self.audio_embedding = audio_embedding(self.config)
        self.audio_layers = encoding_layers(self.config, PostNormLayer)

    def states(self, tokens: Padded | None, frames: Padded | None) -> States:
        """Return the states of frames, the only stream."""
        return {} if frames is None else {"audio": through(self.audio_layers, *self.audio_embedding(frames))}


SYSTEM = Mockingjay
