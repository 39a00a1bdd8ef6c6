"""SpectroBERT's input: filter banks or samples, and WordPiece tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sonolex import text as text_
from sonolex.audio import features
from sonolex.audio.views import Views
from sonolex.nn import backbones
from sonolex.systems._frames_and_tokens import FramesAndTokensConfig, FramesAndTokensProcessor
from sonolex.systems._spectrogram_transformer import AUDIOSET_MEAN, AUDIOSET_STD
from sonolex.systems.base import NO_VIEWS, one_of, pad_rows
from sonolex.types import Example

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class SpectroBertProcessorConfig(FramesAndTokensConfig):
    """Kaldi filter banks as AST reads them, or samples; WordPiece tokens.

    Attributes:
        audio: "spectrogram", or "waveform" (mean 0 and deviation 1 per clip, as wav2vec2 reads it).
        window_ms, num_mels, mean, std: of the filter banks; (x − mean) / (2 · std).
        tokenizer: folder of a BERT checkpoint whose vocabulary to use; None trains one on the transcripts.
        more_texts: read by the trained tokenizer besides the transcripts, e.g. the questions that fine-tuning will ask.
        max_frames, long_clip: published are 1024 and "cut"; the default covers longer clips by windows.
    """

    max_frames: int = 6000
    max_tokens: int = 128
    cleaner: str = "none"
    audio: str = "spectrogram"
    window_ms: float = 25.0
    num_mels: int = 128
    mean: float = AUDIOSET_MEAN
    std: float = AUDIOSET_STD
    tokenizer: str | None = None
    more_texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("audio", self.audio, ("spectrogram", "waveform"))


class SpectroBertProcessor(FramesAndTokensProcessor):
    """Waveform to filter banks or normalised samples; words to WordPiece between [CLS] and [SEP]."""

    config_type = SpectroBertProcessorConfig
    config: SpectroBertProcessorConfig

    @classmethod
    def new_tokenizer(cls, config: SpectroBertProcessorConfig, transcripts: Sequence[str]) -> Tokenizer:
        if config.tokenizer is not None:
            return text_.load_tokenizer(backbones.checkpoint_folder(config.tokenizer))
        return text_.train_wordpiece([*transcripts, *config.more_texts], vocab_size=config.vocab_size)

    @property
    def positions_per_second(self) -> int:
        return self.config.rate_hz if self.config.audio == "waveform" else super().positions_per_second

    @property
    def num_features(self) -> int:
        return self.config.num_mels

    def front(self, wave_S: np.ndarray) -> Tensor:
        c = self.config
        if c.audio == "waveform":
            return torch.from_numpy(wave_S)
        return features.clip_fbank(
            wave_S, rate_hz=c.rate_hz, num_mels=c.num_mels, window_ms=c.window_ms, hop_ms=c.hop_ms
        )

    def example(self, clip_id: str, *, views: Views = NO_VIEWS, own_share: float = 1.0, **given: Any) -> Example:
        if self.config.audio == "waveform" and (views != NO_VIEWS or own_share < 1):
            raise ValueError(
                "views and mixup change spectrograms, but this processor's `audio` is 'waveform'. Leave them out."
            )
        return super().example(clip_id, views=views, own_share=own_share, **given)

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        c = self.config
        longest = round(c.max_frames * c.hop_ms / 1000 * c.rate_hz) if c.audio == "waveform" else c.max_frames
        unit = "samples" if c.audio == "waveform" else "frames"
        if self.too_long("audio", unit, len(front), longest, clip_id):
            front = front[:longest]
        if c.audio == "waveform":
            return (front - front.mean()) / torch.sqrt(front.var(correction=0) + 1e-7)
        return (front - c.mean) / (2 * c.std)

    def audio_fields(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        if self.config.audio == "spectrogram":
            return super().audio_fields(examples)
        fields: dict[str, Tensor] = {}
        if any(e.audio is not None for e in examples):
            fields["samples_BS"], fields["samples_valid_BS"] = pad_rows([e.audio for e in examples])
        if any(e.partner is not None for e in examples):
            fields["partner_samples_BS"], fields["partner_valid_BT"] = pad_rows([e.partner for e in examples])
        return fields
