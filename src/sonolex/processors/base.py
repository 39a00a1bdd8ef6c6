"""Base of all processors: audio and text in, `Batch` out, and everything a model folder needs to read new recordings.

One public module for each kind of input; a paper whose input differs only in numbers sets them in its own file.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sonolex import configs
from sonolex.audio.views import Views
from sonolex.types import Batch, Example, Padded

NO_VIEWS = Views()
LIMITS = {  # of these fields, where a config has them: far beyond any use, far from exhausting a machine
    "rate_hz": (100, 768_000),
    "hop_ms": (1, 10_000),
    "window_ms": (1, 10_000),
    "fft_samples": (2, 1 << 20),
    "num_mels": (1, 4096),
    "max_frames": (1, 10_000_000),
    "max_tokens": (1, 1_000_000),
    "vocab_size": (1, 10_000_000),
    "num_units": (0, 1_000_000),
    "symbol_repeats": (0, 1000),
}
LONG_AUDIO = (  # advice about a recording that is longer than a model's longest clip
    "Cut the recording into clips. To predict, `--long window` (Python: long='window') does it; in a recipe, "
    "long_clip='cut' drops what is beyond."
)
LONG_TEXT = "Shorten the text; in a recipe, long_clip='cut' drops what is beyond."
VIEW_SALT = 0x5EED  # views and corruption of one clip must not draw the same numbers


@dataclass(frozen=True)
class ProcessorConfig:
    """Base of every processor's config. ``rate_hz`` is the sampling rate the system reads.

    Raises:
        ValueError: a field is outside its `LIMITS`. They bound the memory and time that a clip costs under a config
            from a model folder, whose weights do not confirm it.
    """

    rate_hz: int = 16_000

    def __post_init__(self) -> None:
        problems = [
            f"`{name}` must be {low:g} to {high:g}, but is {getattr(self, name)}."
            for name, (low, high) in LIMITS.items()
            if hasattr(self, name) and not low <= getattr(self, name) <= high
        ]
        if problems:
            raise ValueError(" ".join(problems))

    @property
    def longest_s(self) -> float:
        """Longest clip that is accepted, in seconds. Default: any."""
        return math.inf


class Processor(abc.ABC):
    """Audio and text in, `Batch` out. Carries everything a model folder needs to read new recordings."""

    config_type: ClassVar[type[ProcessorConfig]]
    config: ProcessorConfig

    @property
    @abc.abstractmethod
    def positions_per_second(self) -> int:
        """Frames (or samples) of `Example.audio` per second of sound."""

    @abc.abstractmethod
    def front(self, wave_S: np.ndarray) -> Tensor:
        """Return the deterministic, cacheable part of the features of one clip, before random views."""

    @abc.abstractmethod
    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        """Return model-ready features of one clip. Raises ValueError, naming the clip, if the clip does not fit."""

    @abc.abstractmethod
    def tokens(self, text: str, clip_id: str) -> Tensor:
        """Return token ids (L,) of one transcript. Raises ValueError, naming the clip, if it does not fit."""

    @abc.abstractmethod
    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return the padded batch."""

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything `load` needs into ``folder``."""

    @classmethod
    @abc.abstractmethod
    def load(cls, folder: Path) -> Processor:
        """Return the processor saved in ``folder``."""

    @classmethod
    @abc.abstractmethod
    def create(
        cls,
        config: Any,
        *,
        transcripts: Sequence[str],
        waves: Iterable[np.ndarray] = (),
        pairs: Iterable[tuple[np.ndarray, str]] = (),
    ) -> Processor:
        """Return a new processor whose tokenizer, statistics and units are learned from training clips.

        Args:
            transcripts: to train a tokenizer on.
            waves: samples (S,) at ``config.rate_hz``, read only if they are iterated, to measure statistics on.
            pairs: samples with their transcripts, of clips that have one.
        """

    def conflicts(self, wanted: Any) -> list[str]:
        """Return where ``wanted`` differs from this processor's config, which would change the input of its weights."""
        return list(configs.differences(configs.to_json(self.config), configs.to_json(wanted)))

    def example(
        self,
        clip_id: str,
        *,
        front: Tensor | None,
        text: str | None,
        labels: Mapping[str, Any] | None = None,
        seed: int = 0,
        views: Views = NO_VIEWS,
        other_labels: Mapping[str, Any] | None = None,
        own_share: float = 1.0,
        partner: Tensor | None = None,
    ) -> Example:
        """Return one clip ready for `collate`. Random views draw from the clip's own seed.

        Args:
            partner: the front end's features of another clip.
        """
        generator = torch.Generator().manual_seed(seed ^ VIEW_SALT)

        def finished(features: Tensor | None) -> Tensor | None:
            if features is None:
                return None
            return self.finish(features if views == NO_VIEWS else views.apply(features, generator), clip_id)

        audio = finished(front)
        tokens_L = self.tokens(text, clip_id) if text and text.strip() else None
        return Example(clip_id, audio, tokens_L, labels or {}, seed, other_labels or {}, own_share, finished(partner))


def pad_rows(rows: Sequence[Tensor | None], *, fill: float = 0.0, num_features: int | None = None) -> Padded:
    """Return the rows right-padded into one tensor; None is an empty row.

    ``num_features`` gives the last dimension for (T, F) rows; without it rows are (T,).
    """
    lengths = tuple(0 if r is None else len(r) for r in rows)
    longest = max([1, *lengths])
    first = next((r for r in rows if r is not None), None)
    dtype = first.dtype if first is not None else torch.float32
    shape = (len(rows), longest) if num_features is None else (len(rows), longest, num_features)
    padded = torch.full(shape, fill, dtype=dtype)
    for i, row in enumerate(rows):
        if row is not None:
            padded[i, : len(row)] = row
    valid_BT = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return Padded(padded, valid_BT, lengths)


def label_fields(examples: Sequence[Example]) -> dict[str, Any]:
    """Return the fields of a `Batch` that hold labels: the clips' own by column, and those of clips mixed into them."""
    fields: dict[str, Any] = {"labels": _columns([e.labels for e in examples])}
    if any(e.own_share < 1 for e in examples):
        fields["other_labels"] = _columns([e.other_labels for e in examples])
        fields["own_shares"] = tuple(e.own_share for e in examples)
    return fields


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple]:
    """Return raw labels by column, None where a clip lacks one."""
    names = sorted({name for row in rows for name in row})
    return {name: tuple(row.get(name) for row in rows) for name in names}
