"""RoBERTa and Mockingjay side by side, joined by CTAL's fusion: row (g) of CTAL's table 4, section 5.1.

Neither stream sees the other before the fusion, so pre-training on pairs teaches each what it would learn alone. CTAL's
gain over this row is due to its cross-attention.
"""

from __future__ import annotations

from sonolex.nn.transformer import PostNormLayer
from sonolex.systems.ctal import Ctal, States, audio_embedding, encoding_layers, linguistic_embedding, through
from sonolex.systems.ctal_rows.base import CtalRowConfig
from sonolex.types import Padded


class LateFusion(Ctal):
    """Two stacks of self-attention, and fusion."""

    name = "late_fusion"
    config_type = CtalRowConfig
    config: CtalRowConfig

    def build_encoders(self) -> None:
        self.text_embedding = linguistic_embedding(self.config)
        self.text_layers = encoding_layers(self.config, PostNormLayer)
        self.audio_embedding = audio_embedding(self.config)
        self.audio_layers = encoding_layers(self.config, PostNormLayer)

    def states(self, tokens: Padded | None, frames: Padded | None) -> States:
        """Return the states of words and of frames, each on its own."""
        states: States = {}
        if tokens is not None:
            states["text"] = through(self.text_layers, self.text_embedding(tokens.values), tokens.valid)
        if frames is not None:
            states["audio"] = through(self.audio_layers, *self.audio_embedding(frames))
        return states


SYSTEM = LateFusion
