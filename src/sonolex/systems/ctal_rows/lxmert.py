"""LXMERT-style: two streams that attend to each other (Tan and Bansal, EMNLP 2019; a row of CTAL's table 4).

Each stream has layers of its own first; then every layer is a pair, one for words and one for frames, and each attends
to the other's states before the layer. CTAL's streams differ: words never see the audio, and frames only see final
words.

Differs: LXMERT's cross-attention comes before self-attention and is shared by both directions; here a pair is two of
CTAL's cross-modal layers, so that rows differ only in which stream attends to which. Audio frames stand for image
regions.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sonolex.nn.transformer import PostNormLayer, attends_to_valid
from sonolex.systems.ctal import (
    Ctal,
    States,
    TextReferredAudioLayer,
    audio_embedding,
    encoding_layers,
    linguistic_embedding,
    through,
)
from sonolex.systems.ctal_rows.base import CtalRowConfig
from sonolex.types import Padded


@dataclass(frozen=True)
class LxmertConfig(CtalRowConfig):
    """Sizes.

    Attributes:
        num_layers: pairs of cross-modal layers.
        num_single_layers: of each stream alone, before them. Published: nine for words, five for regions.
    """

    num_single_layers: int = 1


class Lxmert(Ctal):
    """Two streams, pairs of cross-modal layers, and fusion."""

    name = "lxmert"
    config_type = LxmertConfig
    config: LxmertConfig

    def build_encoders(self) -> None:
        self.text_embedding = linguistic_embedding(self.config)
        self.text_layers = encoding_layers(self.config, PostNormLayer, self.config.num_single_layers)
        self.text_cross_layers = encoding_layers(self.config, TextReferredAudioLayer)
        self.audio_embedding = audio_embedding(self.config)
        self.audio_layers = encoding_layers(self.config, PostNormLayer, self.config.num_single_layers)
        self.audio_cross_layers = encoding_layers(self.config, TextReferredAudioLayer)

    def states(self, tokens: Padded | None, frames: Padded | None) -> States:
        """Return the states of words and of frames, which attend to each other in every pair of layers."""
        text: tuple[Tensor | None, Tensor | None] = (None, None)
        audio: tuple[Tensor | None, Tensor | None] = (None, None)
        if tokens is not None:
            text = through(self.text_layers, self.text_embedding(tokens.values), tokens.valid)
        if frames is not None:
            audio = through(self.audio_layers, *self.audio_embedding(frames))
        for text_layer, audio_layer in zip(self.text_cross_layers, self.audio_cross_layers, strict=True):
            text, audio = _attended(text_layer, text, audio), _attended(audio_layer, audio, text)
        pairs = (("text", text), ("audio", audio))
        return {name: (x, valid) for name, (x, valid) in pairs if x is not None and valid is not None}


def _attended(layer: nn.Module, stream: tuple, other: tuple) -> tuple:
    """Return a stream after a layer that attends to the other one; None stays None."""
    x_BTD, valid_BT = stream
    return stream if x_BTD is None else (layer(x_BTD, attends_to_valid(valid_BT), *other), valid_BT)


SYSTEM = Lxmert
