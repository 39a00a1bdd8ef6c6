"""MulT without vision: words attend to sound, sound attends to words (Tsai et al., ACL 2019): CTAL's table 2.

One stack of cross-modal layers a direction, each of which attends to the other modality's *input*; then self-attention
over the result, and its last state. Pre-norm, sinusoidal positions.

Differs: frames are stacked before the convolution that brings both modalities to one width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sonolex.nn.dropout import Dropout, drawn_apart
from sonolex.nn.embeddings import sinusoids
from sonolex.nn.pooling import at
from sonolex.nn.transformer import CrossAttention, FeedForward, PreNormLayer, attends_to_valid
from sonolex.systems.ctal_rows.base import RecurrentConfig, RecurrentSystem
from sonolex.types import Batch, Encoding


@dataclass(frozen=True)
class MulTConfig(RecurrentConfig):
    """Sizes.

    Attributes:
        num_layers, num_heads, ffn_width: of every stack. Published: 4 to 5 layers of 40 with 8 or 10 heads.
        num_self_layers: over each result. Published: 3.
    """

    num_layers: int = 4
    num_self_layers: int = 3
    num_heads: int = 4
    ffn_width: int = 512
    width: int = 128


class CrossModalLayer(nn.Module):
    """x = x + cross(LN(x), LN(other)); x = x + FFN(LN(x))."""

    def __init__(self, width: int, num_heads: int, ffn_width: int, *, dropout: float):
        super().__init__()
        self.norm, self.other_norm, self.ffn_norm = (nn.LayerNorm(width) for _ in range(3))
        self.cross = CrossAttention(width, num_heads)
        self.ffn = FeedForward(width, ffn_width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: Tensor, other_BLD: Tensor, other_valid_BL: Tensor) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.cross(self.norm(x_BTD), self.other_norm(other_BLD), other_valid_BL))
        return x_BTD + self.dropout(self.ffn(self.ffn_norm(x_BTD)))


class Direction(nn.Module):
    """One modality that attends to another: cross-modal layers, then self-attention, then its last state."""

    def __init__(self, config: MulTConfig):
        super().__init__()
        c = config
        sizes = (c.width, c.num_heads, c.ffn_width)
        self.cross_layers = nn.ModuleList(CrossModalLayer(*sizes, dropout=c.dropout) for _ in range(c.num_layers))
        self.self_layers = nn.ModuleList(
            PreNormLayer(*sizes, dropout=c.dropout, attention_dropout=0.0, eps=1e-5) for _ in range(c.num_self_layers)
        )
        self.norm = nn.LayerNorm(c.width)

    def forward(self, stream: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the states (B, T, D) and the last valid one (B, D), zeros for an empty row."""
        x_BTD, valid_BT = stream
        for layer in self.cross_layers:
            x_BTD = layer(x_BTD, *other)
        attends_B1TT = attends_to_valid(valid_BT)
        for layer in self.self_layers:
            x_BTD = layer(x_BTD, attends_B1TT)
        x_BTD = self.norm(x_BTD)
        last_B1 = (valid_BT.sum(1, keepdim=True) - 1).clamp_min(0)
        return x_BTD, at(x_BTD, last_B1)[:, 0] * valid_BT.any(1, keepdim=True)


class MulT(RecurrentSystem):
    """A convolution a modality, two directions, and their last states."""

    name = "mult"
    config_type = MulTConfig
    config: MulTConfig

    def __init__(self, config: MulTConfig):
        super().__init__(config)
        c = config
        self.from_frames = nn.Conv1d(c.num_features * c.frames_per_step, c.width, 3, padding=1)
        self.from_words = nn.Conv1d(c.width, c.width, 1)
        self.audio, self.text = Direction(c), Direction(c)

    def encode(self, batch: Batch) -> Encoding:
        inputs = self.inputs(batch)
        with drawn_apart("projected"):  # the words' own dropout runs before these, but not in every batch
            audio = self._projected(self.from_frames, *inputs["audio"])
            text = self._projected(self.from_words, *inputs["text"])
        (audio_BTD, heard_BD), (text_BLD, read_BD) = self.audio(audio, text), self.text(text, audio)
        valid = {"audio": audio[1], "text": text[1]}
        return Encoding(torch.cat([read_BD, heard_BD], -1), {"audio": audio_BTD, "text": text_BLD}, valid)

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        inputs: list[nn.Module] = [self.words, self.from_words, self.from_frames]
        return {"inputs": inputs, "audio": [self.audio], "text": [self.text]}

    def _projected(self, convolution: nn.Module, x_BTF: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
        real_BT1 = valid_BT[..., None].to(x_BTF.dtype)
        x_BTD = convolution((x_BTF * real_BT1).transpose(1, 2)).transpose(1, 2)
        x_BTD = x_BTD + sinusoids(x_BTD.shape[1], self.config.width).to(x_BTD)
        return self.dropout(x_BTD) * real_BT1, valid_BT


SYSTEM = MulT
