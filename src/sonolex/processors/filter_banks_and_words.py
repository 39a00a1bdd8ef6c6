"""Kaldi filter banks and WordPiece tokens, which SpectroBERT and CALM read with different settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from sonolex import text as text_
from sonolex.audio import features
from sonolex.configs import one_of
from sonolex.pretrained.files import tokenizer_folder
from sonolex.processors.frames_and_tokens import FramesAndTokensConfig, FramesAndTokensProcessor

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class FilterBanksAndWordsConfig(FramesAndTokensConfig):
    """Kaldi filter banks and WordPiece tokens.

    Attributes:
        window_ms, num_mels, mean, std: of the filter banks; (x − mean) / (2 · std).
        range_db: values further below the clip's highest are raised to this range; None keeps all.
        normalise: "fixed" (published: as above), "level" (the clip's own mean stands for ``mean``: level goes), "mean"
            (each band's: level and channel go) or "utterance" (each band to mean 0, deviation 1).
        more_texts: read by the trained tokenizer besides the transcripts, e.g. the questions that fine-tuning will ask.
    """

    max_frames: int = 6000
    max_tokens: int = 128
    cleaner: str = "none"
    window_ms: float = 25.0
    num_mels: int = 128
    mean: float = features.AUDIOSET_MEAN
    std: float = features.AUDIOSET_STD
    range_db: float | None = None
    normalise: str = "fixed"
    more_texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("normalise", self.normalise, ("utterance", "mean", "level", "fixed"))
        if not self.std > 0:
            raise ValueError(f"`std` must be positive, but is {self.std}.")


class FilterBanksAndWordsProcessor(FramesAndTokensProcessor):
    """Waveform to filter banks; words to WordPiece between [CLS] and [SEP]."""

    config_type = FilterBanksAndWordsConfig
    config: FilterBanksAndWordsConfig

    @classmethod
    def new_tokenizer(cls, config: FilterBanksAndWordsConfig, transcripts: Sequence[str]) -> Tokenizer:
        if config.tokenizer is not None:
            return text_.load_tokenizer(tokenizer_folder(config.tokenizer))
        return text_.train_wordpiece([*transcripts, *config.more_texts], vocab_size=config.vocab_size)

    @property
    def num_features(self) -> int:
        return self.config.num_mels

    def front(self, wave_S: np.ndarray) -> Tensor:
        c = self.config
        return features.clip_fbank(
            wave_S, rate_hz=c.rate_hz, num_mels=c.num_mels, window_ms=c.window_ms, hop_ms=c.hop_ms
        )

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        c = self.config
        if self.too_long("audio", "frames", len(front), c.max_frames, clip_id):
            front = front[: c.max_frames]
        if c.range_db is not None:
            front = front.clamp_min(front.max() - c.range_db * features.DECIBEL)
        if c.normalise in ("mean", "utterance"):
            front = features.normalise_utterance(front, scale=c.normalise == "utterance")
            return front if c.normalise == "utterance" else front / (2 * c.std)
        return (front - (front.mean() if c.normalise == "level" else c.mean)) / (2 * c.std)
