"""Kaldi filter banks, normalised with two numbers per corpus, as AST, SSAST and VCR-AST read them. No text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sonolex.audio import features
from sonolex.configs import from_json, one_of
from sonolex.files import load_object, save_json
from sonolex.processors.base import LONG_AUDIO, Processor, ProcessorConfig, label_fields, pad_rows
from sonolex.types import Batch, Example

MOST_FIXED_VALUES = 1 << 26
"""Of one padded clip: 268 MB, 87 minutes of 128 bands."""


@dataclass(frozen=True)
class SpectrogramConfig(ProcessorConfig):
    """Kaldi filter banks as AST reads them.

    Attributes:
        window_ms, hop_ms, num_mels: of the filter bank.
        mean, std: features are (x − mean) / (2 · std). Default: AudioSet's.
        statistics: "given" uses these two; "measured" computes them from the training clips.
        frames: "own" keeps each clip's length; "fixed" cuts or pads every clip to max_frames *before* normalisation,
            so that padding has AST's value (0 − mean) / (2 std) = 0.467 and counts as sound (checkpoint parity).
        max_frames: longest clip.
        long_clip: "refuse" or "cut" clips beyond max_frames.
    """

    window_ms: float = 25.0
    hop_ms: float = 10.0
    num_mels: int = 128
    mean: float = features.AUDIOSET_MEAN
    std: float = features.AUDIOSET_STD
    statistics: str = "given"
    frames: str = "own"
    max_frames: int = 6000
    long_clip: str = "refuse"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("statistics", self.statistics, ("given", "measured"))
        one_of("frames", self.frames, ("own", "fixed"))
        one_of("long_clip", self.long_clip, ("refuse", "cut"))
        if not self.std > 0:
            raise ValueError(f"`std` must be positive, but is {self.std}.")
        if self.frames == "fixed" and self.max_frames * self.num_mels > MOST_FIXED_VALUES:
            raise ValueError(
                f"`max_frames` must be at most {MOST_FIXED_VALUES // self.num_mels} with frames='fixed', which pads "
                f"every clip to it, but is {self.max_frames}."
            )

    @property
    def longest_s(self) -> float:
        cuts = self.long_clip == "cut" or self.frames == "fixed"
        return math.inf if cuts else self.max_frames * self.hop_ms / 1000


class SpectrogramProcessor(Processor):
    """Waveform to normalised filter banks. Reads no text."""

    config_type: ClassVar[type[SpectrogramConfig]] = SpectrogramConfig
    config: SpectrogramConfig

    def __init__(self, config: SpectrogramConfig):
        self.config = config

    @classmethod
    def create(
        cls,
        config: Any,
        *,
        transcripts: Sequence[str],
        waves: Iterable[np.ndarray] = (),
        pairs: Iterable[tuple[np.ndarray, str]] = (),
    ) -> SpectrogramProcessor:
        processor = cls(config)
        return processor.measured(waves) if config.statistics == "measured" else processor

    def measured(self, waves: Iterable[np.ndarray]) -> SpectrogramProcessor:
        """Return a processor with the mean and deviation of all values of these clips' filter banks.

        Raises:
            ValueError: no clips.
        """
        count, total, squares = 0, 0.0, 0.0
        for wave_S in waves:
            front = self.front(wave_S).double()
            count, total, squares = count + front.numel(), total + float(front.sum()), squares + float((front**2).sum())
        if not count:
            raise ValueError("statistics='measured' needs training clips with audio, but there are none.")
        mean = total / count
        return type(self)(replace(self.config, mean=mean, std=max(1e-6, (squares / count - mean**2) ** 0.5)))

    def conflicts(self, wanted: Any) -> list[str]:
        if wanted.statistics == "measured":  # keep those that the weights were trained with
            wanted = replace(wanted, mean=self.config.mean, std=self.config.std, statistics=self.config.statistics)
        return super().conflicts(wanted)

    @property
    def positions_per_second(self) -> int:
        return round(1000 / self.config.hop_ms)

    def front(self, wave_S: np.ndarray) -> Tensor:
        c = self.config
        return features.clip_fbank(
            wave_S, rate_hz=c.rate_hz, num_mels=c.num_mels, window_ms=c.window_ms, hop_ms=c.hop_ms
        )

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        c = self.config
        if len(front) > c.max_frames:
            if c.long_clip == "refuse" and c.frames == "own":
                raise ValueError(
                    f"audio must have at most {c.max_frames} frames ({c.max_frames / self.positions_per_second:g} s), "
                    f"but has {len(front)} (clip {clip_id!r}). {LONG_AUDIO}"
                )
            front = front[: c.max_frames]
        if c.frames == "fixed":
            front = F.pad(front, (0, 0, 0, c.max_frames - len(front)))
        return (front - c.mean) / (2 * c.std)

    def tokens(self, text: str, clip_id: str) -> Tensor:
        raise ValueError(f"this system reads no text, but clip {clip_id!r} has some. Load audio only.")

    def collate(self, examples: Sequence[Example]) -> Batch:
        frames = None
        if any(e.audio is not None for e in examples):
            frames = pad_rows([e.audio for e in examples], num_features=self.config.num_mels)
        ids, seeds = tuple(e.clip_id for e in examples), tuple(e.seed for e in examples)
        return Batch(ids, frames=frames, seeds=seeds, **label_fields(examples))

    def save(self, folder: Path) -> None:
        save_json(folder / "processor_config.json", self.config)

    @classmethod
    def load(cls, folder: Path) -> SpectrogramProcessor:
        file = folder / "processor_config.json"
        return cls(from_json(cls.config_type, load_object(file), where=str(file)))
