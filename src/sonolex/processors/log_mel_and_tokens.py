"""Log-mel with its derivative, and byte-level BPE tokens: input of CTAL (section 3.1.1) and the rows of its tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sonolex.audio import features
from sonolex.configs import one_of
from sonolex.processors.frames_and_tokens import FramesAndTokensConfig, FramesAndTokensProcessor


@dataclass(frozen=True)
class LogMelAndTokensConfig(FramesAndTokensConfig):
    """Features of a clip. Defaults are CTAL's.

    Attributes:
        window_ms, hop_ms, num_mels: 50 ms every 12.5 ms, 80 bands (CTAL section 3.1.1).
        fft_samples: CTAL's code.
        derivatives: 1: log-mel and its first derivative, 2 · num_mels values (CTAL section 3.1.1). Mockingjay has 2.
        normalise: "utterance" (mean 0, deviation 1 per clip and dimension: CTAL's code, the paper does not say), "mean"
            (mean 0 only: level and channel go), "level" (one mean of all bands: level goes) or "fixed" (one map for all
            clips: nothing goes).
        range_db: log-mel further below the clip's loudest value is raised to this range, so that the depth of a
            recorder's silence does not decide the clip's statistics; None (CTAL) keeps all.
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


class LogMelAndTokensProcessor(FramesAndTokensProcessor):
    """Waveform to log-mel and derivative; transcript to byte-level BPE between <s> and </s>."""

    config_type = LogMelAndTokensConfig
    config: LogMelAndTokensConfig

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
