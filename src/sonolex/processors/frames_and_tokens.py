"""Base of processors of audio and text: limits, tokens, padded batches. Subclasses bring the front end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sonolex import text as text_
from sonolex.audio.views import Views
from sonolex.configs import from_json, one_of
from sonolex.files import load_object, save_json
from sonolex.pretrained.files import tokenizer_folder
from sonolex.processors.base import LONG_AUDIO, LONG_TEXT, NO_VIEWS, Processor, ProcessorConfig, label_fields, pad_rows
from sonolex.types import Batch, Example, Padded

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class FramesAndTokensConfig(ProcessorConfig):
    """Limits of frames and tokens, and the text side.

    Attributes:
        hop_ms: from one frame to the next.
        max_frames: longest clip; the position table has as many rows.
        max_tokens: longest transcript with start and end token.
        long_clip: "refuse" or "cut" clips beyond max_frames and transcripts beyond max_tokens.
        cleaner: transcript clean-up, a name in `sonolex.text.CLEANERS`.
        vocab_size: of the tokenizer to train.
        tokenizer: folder or ``hub:ORG/NAME`` of a checkpoint whose tokens to use; None trains one on the transcripts.
    """

    hop_ms: float = 10.0
    max_frames: int = 3000
    max_tokens: int = 512
    long_clip: str = "refuse"
    cleaner: str = "ctal"
    vocab_size: int = 30_000
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("long_clip", self.long_clip, ("refuse", "cut"))
        one_of("cleaner", self.cleaner, tuple(text_.CLEANERS))

    @property
    def longest_s(self) -> float:
        return math.inf if self.long_clip == "cut" else self.max_frames * self.hop_ms / 1000


class FramesAndTokensProcessor(Processor):
    """Tokens between start and end token, padded batches, and a tokenizer saved beside the config."""

    config_type: ClassVar[type[FramesAndTokensConfig]]
    config: FramesAndTokensConfig

    def __init__(self, config: FramesAndTokensConfig, tokenizer: Tokenizer):
        self.config, self.tokenizer = config, tokenizer
        self.special = text_.special_ids(tokenizer)
        self._clean = text_.CLEANERS[config.cleaner]

    @property
    def positions_per_second(self) -> int:
        return self.config.rate_hz if self.reads_samples else round(1000 / self.config.hop_ms)

    @property
    def reads_samples(self) -> bool:
        """Whether the features of a clip are its samples (S,), not frames (T, F)."""
        return False

    @property
    def num_features(self) -> int:
        """Length of one frame of `finish`."""
        raise TypeError(f"{type(self).__name__} must define num_features.")

    @classmethod
    def create(
        cls,
        config: Any,
        *,
        transcripts: Sequence[str],
        waves: Iterable[np.ndarray] = (),
        pairs: Iterable[tuple[np.ndarray, str]] = (),
    ) -> FramesAndTokensProcessor:
        clean = text_.CLEANERS[config.cleaner]
        return cls(config, cls.new_tokenizer(config, [clean(t) for t in transcripts]))

    @classmethod
    def new_tokenizer(cls, config: Any, transcripts: Sequence[str]) -> Tokenizer:
        """Return the tokenizer of a new processor: a checkpoint's, or byte-level BPE trained on ``transcripts``."""
        if config.tokenizer is not None:
            return text_.load_tokenizer(tokenizer_folder(config.tokenizer))
        return text_.train_byte_bpe(transcripts, vocab_size=config.vocab_size)

    def tokens(self, text: str, clip_id: str) -> Tensor:
        ids = text_.token_ids(self.tokenizer, self._clean(text))
        if self.too_long("text", "tokens", len(ids), self.config.max_tokens, clip_id):
            ids = [*ids[: self.config.max_tokens - 1], self.special.end]
        return torch.tensor(ids)

    def example(self, clip_id: str, *, views: Views = NO_VIEWS, own_share: float = 1.0, **options: Any) -> Example:
        if self.reads_samples and (views != NO_VIEWS or own_share < 1):
            raise ValueError(
                "views and mixup change spectrograms, but this processor's `audio` is 'waveform'. Leave them out."
            )
        return super().example(clip_id, views=views, own_share=own_share, **options)

    def finished_samples(self, samples_S: Tensor, clip_id: str, *, normalise: bool) -> Tensor:
        """Return samples of at most the processor's longest clip, with mean 0 and deviation 1 if ``normalise``."""
        longest = round(self.config.max_frames * self.config.hop_ms / 1000 * self.config.rate_hz)
        if self.too_long("audio", "samples", len(samples_S), longest, clip_id):
            samples_S = samples_S[:longest]
        if not normalise:
            return samples_S
        return (samples_S - samples_S.mean()) / torch.sqrt(samples_S.var(correction=0) + 1e-7)

    def too_long(self, field: str, unit: str, size: int, limit: int, clip_id: str) -> bool:
        """Return whether the clip has to be cut. Raises ValueError where the config refuses to cut."""
        if size > limit and self.config.long_clip == "refuse":
            seconds = f" ({limit / self.positions_per_second:g} s)" if field == "audio" else ""
            raise ValueError(
                f"{field} must have at most {limit} {unit}{seconds}, but has {size} (clip {clip_id!r}). "
                + (LONG_AUDIO if field == "audio" else LONG_TEXT)
            )
        return size > limit

    def collate(self, examples: Sequence[Example]) -> Batch:
        tokens = None
        if any(e.tokens_L is not None for e in examples):
            tokens = pad_rows([e.tokens_L for e in examples], fill=self.special.pad)
        audio = self._padded([e.audio for e in examples])
        return Batch(
            tuple(e.clip_id for e in examples),
            frames=None if self.reads_samples else audio,
            samples=audio if self.reads_samples else None,
            tokens=tokens,
            partners=self._padded([e.partner for e in examples]),
            seeds=tuple(e.seed for e in examples),
            **label_fields(examples),
        )

    def _padded(self, audio: Sequence[Tensor | None]) -> Padded | None:
        """Return frames or samples of clips; None if no clip has any."""
        if all(a is None for a in audio):
            return None
        return pad_rows(audio, num_features=None if self.reads_samples else self.num_features)

    def save(self, folder: Path) -> None:
        save_json(folder / "processor_config.json", self.config)
        self.tokenizer.save(str(folder / "tokenizer.json"))

    @classmethod
    def load(cls, folder: Path) -> FramesAndTokensProcessor:
        file = folder / "processor_config.json"
        config = from_json(cls.config_type, load_object(file), where=str(file))
        return cls(config, text_.load_tokenizer(folder))
