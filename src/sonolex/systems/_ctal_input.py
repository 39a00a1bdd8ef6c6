"""CTAL's input, and that of the systems it is compared with: log-mel with its derivative, byte-level BPE tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sonolex.audio import features
from sonolex.systems._frames_and_tokens import FramesAndTokensConfig, FramesAndTokensProcessor
from sonolex.systems.base import one_of


@dataclass(frozen=True)
class CtalProcessorConfig(FramesAndTokensConfig):
    """CTAL's input: section 3.1.1 and reference C1.

    Attributes:
        window_ms, hop_ms, fft_samples, num_mels: log-mel convention.
        derivatives: 1 as published: features are mel and its derivative, 2 · num_mels. Mockingjay has 2.
        normalise: "utterance" (published: mean 0, deviation 1 per clip and dimension), "mean" (mean 0 only: level and
            channel go), "level" (one mean of all bands: level goes) or "fixed" (one map for all clips: nothing goes).
        range_db: log-mel further below the clip's loudest value is raised to this range, so that the depth of a
            recorder's silence does not decide the clip's statistics; None (published) keeps all.
    """

    window_ms: float = 50.0
    hop_ms: float = 12.5
    fft_samples: int = 2048
    num_mels: int = 80
    derivatives: int = 1
    normalise: str = "utterance"
    range_db: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("normalise", self.normalise, ("utterance", "mean", "level", "fixed"))
        window = round(self.rate_hz * self.window_ms / 1000)
        if window > self.fft_samples:
            raise ValueError(f"`fft_samples` must be at least the {window} of a window, but is {self.fft_samples}.")
        if not 0 <= self.derivatives <= 2:
            raise ValueError(f"`derivatives` must be 0, 1 or 2, but is {self.derivatives}.")
        if self.range_db is not None and self.range_db <= 0:
            raise ValueError(f"`range_db` must be above 0 or None, but is {self.range_db}.")


class CtalProcessor(FramesAndTokensProcessor):
    """Waveform to log-mel and derivative; transcript to byte-level BPE between <s> and </s>."""

    config_type = CtalProcessorConfig
    config: CtalProcessorConfig

    @property
    def num_features(self) -> int:
        return (1 + self.config.derivatives) * self.config.num_mels

    def front(self, wave_S: np.ndarray) -> Tensor:
        c = self.config
        return features.librosa_log_mel(
            torch.from_numpy(wave_S),
            rate_hz=c.rate_hz,
            fft_samples=c.fft_samples,
            window_samples=round(c.rate_hz * c.window_ms / 1000),
            hop_samples=round(c.rate_hz * c.hop_ms / 1000),
            num_mels=c.num_mels,
        )

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        c = self.config
        if self.too_long("audio", "frames", len(front), c.max_frames, clip_id):
            front = front[: c.max_frames]
        if c.range_db is not None:
            front = front.clamp_min(front.max() - c.range_db * features.DECIBEL)
        derivatives = [front]
        for _ in range(c.derivatives):
            derivatives.append(features.delta(derivatives[-1]))
        if c.normalise in ("fixed", "level"):
            # Natural-log mel power of speech at full scale ±1 lies around -7 ± 4 (measured on FSDD and EMO-DB).
            centre = front.mean() if c.normalise == "level" else -7.0
            return torch.cat([(front - centre) / 4.0, *derivatives[1:]], -1)
        return features.normalise_utterance(torch.cat(derivatives, -1), scale=c.normalise == "utterance")
