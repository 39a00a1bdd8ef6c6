"""RoBERTa and Mockingjay side by side, joined by CTAL's fusion: row (g) of CTAL's table 4 (source document 002).

Neither stream ever hears of the other before the fusion, so pre-training on pairs teaches each what it would learn
alone. What CTAL gains over this row is what its cross-attention gains.
"""

from __future__ import annotations

from torch import Tensor

from sonolex.nn.transformer import PostNormLayer
from sonolex.systems._masked_streams import MaskedStreams, MaskedStreamsConfig, States, through


class LateFusion(MaskedStreams):
    """Two stacks of self-attention, and fusion."""

    name = "late_fusion"
    config: MaskedStreamsConfig

    def __init__(self, config: MaskedStreamsConfig):
        super().__init__(config)
        self.text_embedding = self.new_text_embedding()
        self.text_layers = self.new_layers(PostNormLayer)
        self.audio_embedding = self.new_audio_embedding()
        self.audio_layers = self.new_layers(PostNormLayer)
        self.finish()

    def states(self, tokens: tuple[Tensor, Tensor] | None, frames: tuple[Tensor, Tensor] | None) -> States:
        """Return the states of words and of frames, each on its own."""
        found: States = {}
        if tokens is not None:
            found["text"] = through(self.text_layers, self.text_embedding(tokens[0]), tokens[1])
        if frames is not None:
            found["audio"] = through(self.audio_layers, *self.audio_embedding(*frames))
        return found


SYSTEM = LateFusion
