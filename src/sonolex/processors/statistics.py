"""Statistics of a clip's audio, and the terms of its transcript that a vocabulary knows, for `fit`'s small models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sonolex import text as text_
from sonolex.audio.statistics import SET_SIZES, clip_statistics
from sonolex.configs import from_json
from sonolex.files import load_object, save_json
from sonolex.processors.base import Processor, ProcessorConfig, label_fields, pad_rows
from sonolex.types import Batch, Example

MOST_VOCABULARY_BYTES = 64 << 20


@dataclass(frozen=True)
class StatisticsProcessorConfig(ProcessorConfig):
    """Measurements of a clip.

    Attributes:
        sets: of `sonolex.audio.statistics`; empty for words alone.
        max_terms: most words and n-grams of the vocabulary, the most frequent ones; 0 for none.
        fewest_clips: a term must occur in at least this many training clips.
    """

    sets: tuple[str, ...] = tuple(SET_SIZES)
    max_terms: int = 20_000
    fewest_clips: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.sets) - set(SET_SIZES))
        if unknown or len(set(self.sets)) < len(self.sets):
            raise ValueError(f"`sets` must be different ones of {', '.join(SET_SIZES)}, but are {list(self.sets)}.")
        if not self.sets and not self.max_terms:
            raise ValueError("`sets` or `max_terms` must be set, but both are empty.")
        if self.rate_hz != 16_000:
            raise ValueError(f"`rate_hz` must be 16000, at which statistics are measured, but is {self.rate_hz}.")

    @property
    def num_audio(self) -> int:
        """Statistics of a clip's audio."""
        return sum(SET_SIZES[name] for name in self.sets)


class StatisticsProcessor(Processor):
    """Audio to one vector, transcript to the ids of the terms that the vocabulary knows."""

    config_type: ClassVar[type[StatisticsProcessorConfig]] = StatisticsProcessorConfig
    config: StatisticsProcessorConfig

    def __init__(self, config: StatisticsProcessorConfig, terms: Sequence[str] = ()):
        self.config, self.terms = config, tuple(terms)
        self._ids = {term: i for i, term in enumerate(self.terms)}

    @property
    def positions_per_second(self) -> int:
        return 1  # a clip is one vector, however long it is

    def front(self, wave_S: np.ndarray) -> Tensor:
        if not self.config.sets:
            return torch.zeros(1)
        return torch.from_numpy(clip_statistics(wave_S, self.config.sets))

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        return front[None, : self.config.num_audio]

    def tokens(self, text: str, clip_id: str) -> Tensor:
        return torch.tensor(self.term_ids(text), dtype=torch.int64)

    def term_ids(self, text: str) -> list[int]:
        """Return the ids of a transcript's terms, one for each occurrence."""
        return [self._ids[t] for t in text_.word_and_letter_ngrams(text) if t in self._ids]

    def collate(self, examples: Sequence[Example]) -> Batch:
        fields: dict[str, Any] = {}
        if any(e.tokens_L is not None for e in examples):
            fields["tokens"] = pad_rows([e.tokens_L for e in examples])
        if any(e.audio is not None for e in examples):
            fields["frames"] = pad_rows([e.audio for e in examples], num_features=self.config.num_audio)
        ids, seeds = tuple(e.clip_id for e in examples), tuple(e.seed for e in examples)
        return Batch(ids, seeds=seeds, **fields, **label_fields(examples))

    def save(self, folder: Path) -> None:
        save_json(folder / "processor_config.json", self.config)
        save_json(folder / "vocabulary.json", {"terms": self.terms})

    @classmethod
    def load(cls, folder: Path) -> StatisticsProcessor:
        file = folder / "processor_config.json"
        config = from_json(cls.config_type, load_object(file), where=str(file))
        file = folder / "vocabulary.json"
        terms = load_object(file, most_bytes=MOST_VOCABULARY_BYTES).get("terms")
        if not isinstance(terms, list) or not all(isinstance(t, str) for t in terms) or len({*terms}) < len(terms):
            raise ValueError(f"{file} must hold `terms`, a list of different texts, but does not. Copy it again.")
        return cls(config, terms)

    @classmethod
    def create(
        cls,
        config: Any,
        *,
        transcripts: Sequence[str],
        waves: Iterable[np.ndarray] = (),
        pairs: Iterable[tuple[np.ndarray, str]] = (),
    ) -> StatisticsProcessor:
        return cls(config, frequent_terms(transcripts, most=config.max_terms, fewest_clips=config.fewest_clips))


def frequent_terms(transcripts: Iterable[str], *, most: int, fewest_clips: int) -> list[str]:
    """Return the terms that occur in most transcripts, in alphabetical order."""
    if not most:
        return []
    counts = Counter(term for text in transcripts for term in set(text_.word_and_letter_ngrams(text)))
    frequent = sorted((t for t, n in counts.items() if n >= fewest_clips), key=lambda t: (-counts[t], t))
    return sorted(frequent[:most])
