"""Mockingjay: a transformer over frames that draws what was hidden from it (Liu et al., ICASSP 2020; reference C6).

One of CTAL's rows, and the audio half of another (`late_fusion`). Its input is CTAL's 160 values, or as published 80
mel bands with two derivatives (``CtalProcessorConfig(derivatives=2)``) in steps of three frames.

Differs: hidden are CTAL's segments, not runs of seven frames, so that rows differ by the model alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sonolex.nn.transformer import PostNormLayer
from sonolex.systems._masked_streams import MaskedStreams, MaskedStreamsConfig, States, through


@dataclass(frozen=True)
class MockingjayConfig(MaskedStreamsConfig):
    """Sizes; by default three layers of BERT's base width, as published."""

    objectives: tuple[str, ...] = ("mcam",)


class Mockingjay(MaskedStreams):
    """Frames, self-attention, and one vector by attention and maximum."""

    name = "mockingjay"
    config_type = MockingjayConfig
    accepts = frozenset({frozenset({"audio"})})
    config: MockingjayConfig

    def __init__(self, config: MockingjayConfig):
        super().__init__(config)
        self.audio_embedding = self.new_audio_embedding()
        self.audio_layers = self.new_layers(PostNormLayer)
        self.finish()

    def states(self, tokens: tuple[Tensor, Tensor] | None, frames: tuple[Tensor, Tensor] | None) -> States:
        """Return the states of frames; there are no others."""
        return {} if frames is None else {"audio": through(self.audio_layers, *self.audio_embedding(*frames))}


SYSTEM = Mockingjay
