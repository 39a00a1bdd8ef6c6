"""CTAL: Cross-modal Transformer for Audio-and-Language (Li et al., EMNLP 2021, source document 002).

What is unusual about it:

- It is asymmetric. The text stream is a plain RoBERTa encoder that never hears the audio; every layer of the audio
  stream attends to the *final* text states (section 3.1.3). Audio frames are log-mel plus derivative, 80 a second,
  not sub-sampled.
- Pre-training hides words (MLM) and segments of frames (MCAM) at the same time, and the cross-attention sees the text
  states of the *masked* text (section 3.2).
- Fine-tuning joins attention pooling with the start token and max pooling with max pooling, and an orthogonal penalty
  keeps the two streams' vectors apart (section 3.3).

Paper and released code differ in places; the paper is the default and the code is a named option (reference C, H).
``docs/systems/ctal.md`` lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sonolex.nn.transformer import PostNormCrossLayer, PostNormLayer, attends_to_valid
from sonolex.systems._ctal_fusion import orthogonal_term
from sonolex.systems._ctal_input import CtalProcessor, CtalProcessorConfig
from sonolex.systems._masked_streams import MaskedStreams, MaskedStreamsConfig, States, through
from sonolex.systems.base import one_of

__all__ = ["SYSTEM", "Ctal", "CtalConfig", "CtalProcessor", "CtalProcessorConfig", "orthogonal_term"]


@dataclass(frozen=True)
class CtalConfig(MaskedStreamsConfig):
    """CTAL's sizes and variants. Defaults are the paper's BASE (N = 3); LARGE is ``num_layers=6`` (section 4.1).

    Attributes:
        audio_attention: "bidirectional" (section 3.1.3) or "causal" (released checkpoints, reference C7).
    """

    audio_attention: str = "bidirectional"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("audio_attention", self.audio_attention, ("bidirectional", "causal"))

    @classmethod
    def base(cls, **changes: Any) -> CtalConfig:
        """Return CTAL-BASE, N = 3 (the released code calls it "tiny"): 75.5M parameters, 76.8M with its heads."""
        return cls(**changes)

    @classmethod
    def large(cls) -> CtalConfig:
        """Return CTAL-LARGE, N = 6 (the released code calls it "base"): 125.1M parameters, 126.4M with its heads."""
        return cls(num_layers=6)


class Ctal(MaskedStreams):
    """Text stream, text-referred audio stream, pre-training heads and fusion."""

    name = "ctal"
    config_type = CtalConfig
    config: CtalConfig

    def __init__(self, config: CtalConfig):
        super().__init__(config)
        self.text_embedding = self.new_text_embedding()
        self.text_layers = self.new_layers(PostNormLayer)
        self.audio_embedding = self.new_audio_embedding()
        self.audio_layers = self.new_layers(PostNormCrossLayer)
        self.finish()

    def states(self, tokens: tuple[Tensor, Tensor] | None, frames: tuple[Tensor, Tensor] | None) -> States:
        """Return the final text states, and audio states that refer to them in every layer."""
        found: States = {}
        if tokens is not None:
            found["text"] = through(self.text_layers, self.text_embedding(tokens[0]), tokens[1])
        if frames is not None:
            x_BTD, valid_BT = self.audio_embedding(*frames)
            attends_B1TT = attends_to_valid(valid_BT, causal=self.config.audio_attention == "causal")
            text_BLD, text_valid_BL = found.get("text", (None, None))
            for layer in self.audio_layers:
                x_BTD = layer(x_BTD, attends_B1TT, text_BLD, text_valid_BL)
            found["audio"] = x_BTD, valid_BT
        return found


SYSTEM = Ctal
