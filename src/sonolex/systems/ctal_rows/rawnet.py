"""RawNet: a speaker's voice from samples (Jung et al., Interspeech 2019): a baseline of CTAL's table 3.

Samples in threes, residual convolutions that each shorten time threefold, a GRU over the result, and a linear map.

Differs: normalised over channels, step by step (a batch's statistics would tie clips to each other, and padding to
both), and residual blocks as wide as the published ones without their changes of width inside a block. Clips may have
any length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.embeddings import every, in_groups, stack_frames
from sonolex.nn.recurrent import states_of
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig, SpeechAndLettersProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import Batch, Encoding

SHORTENING = 3


@dataclass(frozen=True)
class RawNetConfig(SystemConfig):
    """Sizes, by default as published.

    Attributes:
        channels: of each residual block, each of which makes time three times shorter.
        width, embedding_dim: of the GRU's states and of a clip's vector.
    """

    channels: tuple[int, ...] = (128, 128, 256, 256, 256, 256)
    width: int = 1024
    embedding_dim: int = 128


class ResidualBlock(nn.Module):
    """Two convolutions of three steps around a shortcut, then the maximum of three steps."""

    def __init__(self, size: int, channels: int):
        super().__init__()
        self.first, self.second = nn.Linear(3 * size, channels), nn.Linear(3 * channels, channels)
        self.first_norm, self.second_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.shortcut = nn.Linear(size, channels, bias=False) if size != channels else None

    def forward(self, x_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, ceil(T / 3), channels) and its validity."""
        hidden_BTD = F.leaky_relu(self.first_norm(self.first(_neighbours(x_BTD, valid_BT))), 0.3)
        hidden_BTD = self.second_norm(self.second(_neighbours(hidden_BTD, valid_BT)))
        x_BTD = F.leaky_relu(hidden_BTD + (x_BTD if self.shortcut is None else self.shortcut(x_BTD)), 0.3)
        x_BTD = x_BTD.masked_fill(~valid_BT[..., None], torch.finfo(x_BTD.dtype).min)
        valid_BT = every(valid_BT, SHORTENING)
        threes_BT3D = in_groups(x_BTD, SHORTENING, value=torch.finfo(x_BTD.dtype).min)
        return threes_BT3D.amax(2) * valid_BT[..., None], valid_BT


class RawNet(System):
    """Samples, residual blocks, GRU, vector."""

    name = "rawnet"
    config_type = RawNetConfig
    processor_type = SpeechAndLettersProcessor
    accepts = frozenset({frozenset({"audio"})})
    config: RawNetConfig

    def __init__(self, config: RawNetConfig):
        super().__init__()
        self.config = c = config
        sizes = (c.channels[0], *c.channels)
        self.first = nn.Linear(SHORTENING, sizes[0])
        self.first_norm = nn.LayerNorm(sizes[0])
        self.blocks = nn.ModuleList(ResidualBlock(a, b) for a, b in zip(sizes, c.channels, strict=False))
        self.audio = nn.GRU(c.channels[-1], c.width, batch_first=True)
        self.project = nn.Linear(c.width, c.embedding_dim)

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        if processor.config.audio != "waveform":
            raise ValueError(f"`audio` of the processor must be 'waveform', but is {processor.config.audio!r}.")
        return config

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[RawNetConfig, SpeechAndLettersConfig]:
        small = RawNetConfig(channels=(32, 32, 64, 64, 64), width=128)
        max_frames = 1 + round(50 * max(10.0, min(longest_s, LONGEST_STARTER_S)))
        processor = SpeechAndLettersConfig(max_frames=max_frames, normalise=True)
        return small if num_clips < 20_000 else RawNetConfig(), processor

    @property
    def pooled_dim(self) -> int:
        return self.config.embedding_dim

    def encode(self, batch: Batch) -> Encoding:
        if batch.samples is None:
            raise ValueError(f"a batch must have audio, but clips {batch.clip_ids} have none.")
        threes_BTF, valid_BT = stack_frames(batch.samples.values[..., None], batch.samples.valid, SHORTENING)
        x_BTD = F.leaky_relu(self.first_norm(self.first(threes_BTF)), 0.3)
        for block in self.blocks:
            x_BTD, valid_BT = block(x_BTD, valid_BT)
        states_BTD, last_BD = states_of(self.audio, x_BTD, valid_BT)
        return Encoding(self.project(last_BD), {"audio": states_BTD}, {"audio": valid_BT})

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        groups: dict[str, list[nn.Module]] = {"samples": [self.first, self.first_norm]}
        groups |= {f"block_{i}": [block] for i, block in enumerate(self.blocks)}
        return groups | {"audio": [self.audio], "project": [self.project]}


def _neighbours(x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """Return each step with those on both sides (B, T, 3 · D); padding and the outside are zeros."""
    padded_BTD = F.pad(x_BTD * valid_BT[..., None].to(x_BTD.dtype), (0, 0, 1, 1))
    return torch.cat([padded_BTD[:, :-2], padded_BTD[:, 1:-1], padded_BTD[:, 2:]], -1)


SYSTEM = RawNet
