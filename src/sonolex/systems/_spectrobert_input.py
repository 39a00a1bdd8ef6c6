"""SpectroBERT's input: filter banks or samples, and WordPiece tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonolex.audio.views import Views
from sonolex.systems._banks_and_words import BanksAndWordsConfig, BanksAndWordsProcessor
from sonolex.systems.base import NO_VIEWS, one_of, pad_rows
from sonolex.types import Example


@dataclass(frozen=True)
class SpectroBertProcessorConfig(BanksAndWordsConfig):
    """Kaldi filter banks as AST reads them, or samples; WordPiece tokens.

    Attributes:
        audio: "spectrogram", or "waveform" (mean 0 and deviation 1 per clip, as wav2vec2 reads it).
        max_frames, long_clip: published are 1024 and "cut"; the default covers longer clips by windows.
    """

    audio: str = "spectrogram"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("audio", self.audio, ("spectrogram", "waveform"))


class SpectroBertProcessor(BanksAndWordsProcessor):
    """Waveform to filter banks or normalised samples; words to WordPiece between [CLS] and [SEP]."""

    config_type = SpectroBertProcessorConfig
    config: SpectroBertProcessorConfig

    @property
    def positions_per_second(self) -> int:
        return self.config.rate_hz if self.config.audio == "waveform" else super().positions_per_second

    def front(self, wave_S: np.ndarray) -> Tensor:
        return torch.from_numpy(wave_S) if self.config.audio == "waveform" else super().front(wave_S)

    def example(self, clip_id: str, *, views: Views = NO_VIEWS, own_share: float = 1.0, **given: Any) -> Example:
        if self.config.audio == "waveform" and (views != NO_VIEWS or own_share < 1):
            raise ValueError(
                "views and mixup change spectrograms, but this processor's `audio` is 'waveform'. Leave them out."
            )
        return super().example(clip_id, views=views, own_share=own_share, **given)

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        c = self.config
        if c.audio == "spectrogram":
            return super().finish(front, clip_id)
        longest = round(c.max_frames * c.hop_ms / 1000 * c.rate_hz)
        if self.too_long("audio", "samples", len(front), longest, clip_id):
            front = front[:longest]
        return (front - front.mean()) / torch.sqrt(front.var(correction=0) + 1e-7)

    def audio_fields(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        if self.config.audio == "spectrogram":
            return super().audio_fields(examples)
        fields: dict[str, Tensor] = {}
        if any(e.audio is not None for e in examples):
            fields["samples_BS"], fields["samples_valid_BS"] = pad_rows([e.audio for e in examples])
        if any(e.partner is not None for e in examples):
            fields["partner_samples_BS"], fields["partner_valid_BT"] = pad_rows([e.partner for e in examples])
        return fields
