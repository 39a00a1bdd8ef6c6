"""SpectroBERT's input: filter banks or samples, and WordPiece tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sonolex.configs import one_of
from sonolex.processors.filter_banks_and_words import FilterBanksAndWordsConfig, FilterBanksAndWordsProcessor


@dataclass(frozen=True)
class SpectroBertProcessorConfig(FilterBanksAndWordsConfig):
    """Kaldi filter banks as AST reads them, or samples; WordPiece tokens.

    Attributes:
        audio: "spectrogram", or "waveform" (mean 0 and deviation 1 per clip, as wav2vec2 reads it).
        max_frames, long_clip: published are 1024 and "cut"; the default covers longer clips by windows.
    """

    audio: str = "spectrogram"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("audio", self.audio, ("spectrogram", "waveform"))


class SpectroBertProcessor(FilterBanksAndWordsProcessor):
    """Waveform to filter banks or normalised samples; words to WordPiece between [CLS] and [SEP]."""

    config_type = SpectroBertProcessorConfig
    config: SpectroBertProcessorConfig

    @property
    def reads_samples(self) -> bool:
        return self.config.audio == "waveform"

    def front(self, wave_S: np.ndarray) -> Tensor:
        return torch.from_numpy(wave_S) if self.reads_samples else super().front(wave_S)

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        if self.reads_samples:
            return self.finished_samples(front, clip_id, normalise=True)
        return super().finish(front, clip_id)
