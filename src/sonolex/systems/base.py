"""What every system is: a config, a processor and a model with `encode` and `pretraining_losses`.

A system module holds a subclass of each and names the system in ``SYSTEM``. Nothing is registered:
`sonolex.configs.find_module("systems", name)` is the lookup.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sonolex import configs
from sonolex.audio.views import Views
from sonolex.types import Batch, Encoding, Example, Term

NO_VIEWS = Views()
LONGEST_STARTER_S = 60.0  # a minute is as much as attention over one clip should cost; longer clips are refused by name
LIMITS = {  # of whatever a processor's config has of these: far beyond any use, far below what exhausts a machine
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
LONG_AUDIO = (  # what to do about a recording that is longer than a model's longest clip
    "Cut the recording into clips. To predict, `--long window` (Python: long='window') does it; in a recipe, "
    "long_clip='cut' drops what is beyond."
)
LONG_TEXT = "Shorten the text; in a recipe, long_clip='cut' drops what is beyond."
VIEW_SALT = 0x5EED  # views and corruption of one clip must not draw the same numbers


@dataclass(frozen=True)
class SystemConfig:
    """Base of every system's config: a frozen dataclass of plain values, enough to build the model offline.

    Raises:
        ValueError: a number below 0; none of them is a size, share, rate or id.
    """

    def __post_init__(self) -> None:
        numbers = {f.name: getattr(self, f.name) for f in fields(self)}
        negative = [f"{n} ({v})" for n, v in numbers.items() if isinstance(v, int | float) and not v >= 0]
        if negative:
            raise ValueError(f"sizes, shares and ids must be at least 0, but not so are {', '.join(negative)}.")


@dataclass(frozen=True)
class ProcessorConfig:
    """Base of every processor's config. ``rate_hz`` is the sampling rate the system hears.

    Raises:
        ValueError: a quantity of `LIMITS` beyond them. One that decides how much memory or time a clip costs comes with
            a model folder, whose weights do not vouch for it.
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
        """Seconds from which on a clip is refused. Default: never."""
        return math.inf


class Processor(abc.ABC):
    """Audio and text in, `Batch` out. Carries everything a model folder needs to read new recordings."""

    config_type: ClassVar[type[ProcessorConfig]]
    config: ProcessorConfig

    @property
    @abc.abstractmethod
    def positions_per_second(self) -> int:
        """Frames (or samples) of `Example.audio` a second of sound becomes."""

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
        """Return a new processor; what has to be learned is learned from training clips.

        Args:
            transcripts: to train a tokenizer on.
            waves: samples (S,) at ``config.rate_hz``, read only if they are iterated, to measure statistics on.
            pairs: the same with their transcripts, of clips that have one.
        """

    def conflicts(self, wanted: Any) -> list[str]:
        """Return where ``wanted`` differs from this processor's config, so that its weights would hear other input."""
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


class System(nn.Module, abc.ABC):
    """One paper's model. Heads for downstream tasks are not part of it: tasks bring them."""

    name: ClassVar[str]
    config_type: ClassVar[type[SystemConfig]]
    processor_type: ClassVar[type[Processor]]
    accepts: ClassVar[frozenset[frozenset[str]]]
    """The sets of modalities a clip may have, e.g. {audio}, {text}, {audio, text}."""
    objectives: ClassVar[tuple[str, ...]] = ()
    """Names of the pre-training terms, as a run may weight them."""
    joint_objectives: ClassVar[tuple[str, ...]] = ()
    """Those of them that compare clips with each other (`joint_losses`)."""

    config: SystemConfig

    @classmethod
    def import_extras(cls) -> None:
        """Import the optional packages that the model is built from; ImportError names the extra. Default: none."""

    @classmethod
    @abc.abstractmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        """Return ``config`` with the sizes that ``processor`` decides (vocabulary, features, limits)."""

    @classmethod
    @abc.abstractmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[Any, Any]:
        """Return system and processor configs that suit ``num_clips`` labelled clips of up to ``longest_s``."""

    @classmethod
    def readable(cls, offered: Sequence[str]) -> tuple[str, ...]:
        """Return those of the offered modalities that the system reads.

        Raises:
            ValueError: none of them.
        """
        found = tuple(m for m in offered if any(m in accepted for accepted in cls.accepts))
        if not found:
            raise ValueError(f"`modalities` must hold what {cls.name} reads, but are {', '.join(offered)} only.")
        return found

    @property
    def aligns_modalities(self) -> bool:
        """Whether vectors of audio alone and of text alone may be compared with each other. Default: no."""
        return False

    @property
    @abc.abstractmethod
    def pooled_dim(self) -> int:
        """Length of `Encoding.pooled_BD`."""

    @abc.abstractmethod
    def encode(self, batch: Batch) -> Encoding:
        """Return streams, their validity, the pooled vector and penalties of a batch."""

    def corrupt(self, batch: Batch) -> Batch:
        """Return the batch with ``extras`` and ``counts`` of every pre-training term. CPU, from the clips' seeds.

        Raises:
            ValueError: the system has no pre-training objective (the default).
        """
        raise ValueError(f"{self.name} has no pre-training objective. Start from a system that has one.")

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        """Return the terms of objectives that look at clips one by one, for a batch that `corrupt` prepared."""
        return {}

    def pretraining_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per clip, (B, D) by name, for objectives that compare clips with each other.

        The trainer joins the rows of all accumulated batches and processes before it asks for `joint_losses`, so these
        objectives see the whole effective batch, and its gradient is that of one big batch. Default: none.
        """
        return {}

    def joint_losses(self, rows: Mapping[str, Tensor]) -> dict[str, Term]:
        """Return the terms of `pretraining_rows`' objectives over all rows; terms of weight 0 are only journaled."""
        return {}

    def import_pretrained(self, sources: Mapping[str, str]) -> Mapping[str, Any]:
        """Fill parts from published checkpoints, by part: folders or ``hub:ORG/NAME``. Return a report of every key.

        Raises:
            ValueError: a part that cannot be filled (the default: there is none).
        """
        if sources:
            raise ValueError(f"`pretrained` must be empty for {self.name}, but names {', '.join(sources)}.")
        return {}

    def advice(self, clips_per_step: int) -> list[str]:
        """Return what a user should know before pre-training with so many clips a step. Default: nothing."""
        return []

    def penalty_counts(self, batch: Batch) -> dict[str, float]:
        """Return how many items each of `encode`'s penalties averages over. Default: no penalties."""
        return {}

    @abc.abstractmethod
    def layer_groups(self) -> dict[str, list[nn.Module]]:
        """Return named groups of parts from input to output, for freezing and per-group learning rates."""


def system_type(name: str, *, trust_code: bool = False) -> type[System]:
    """Return the system class of module ``systems/<name>``, or of the user's own module: see `find_module`."""
    return configs.find_module("systems", name, trust_code=trust_code).SYSTEM


def system_name(system: System) -> str:
    """Return what `system_type` finds a system by: its name, or the dotted module of a user's own."""
    module = type(system).__module__
    return system.name if module.startswith("sonolex.systems.") else module


@contextmanager
def seeded_build(seed: int) -> Iterator[None]:
    """Initialise weights inside from ``seed``, leaving torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_system(name: str, config: Any, *, seed: int = 0) -> System:
    """Return the system with random weights that depend only on ``config`` and ``seed``.

    ``name`` may be the dotted module of the caller's own system; one that stands in a file goes to `system_type`.
    """
    with seeded_build(seed):
        return system_type(name, trust_code=True)(config)  # type: ignore[call-arg]


def count_parameters(module: nn.Module) -> int:
    """Return the number of values in ``module``, shared tensors counted once."""
    return sum(p.numel() for p in module.parameters())


def pad_rows(
    rows: Sequence[Tensor | None], *, fill: float = 0.0, num_features: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the rows right-padded into one tensor and their validity (B, T); None is an empty row.

    ``num_features`` gives the last dimension for (T, F) rows; without it rows are (T,).
    """
    longest = max([1, *(len(r) for r in rows if r is not None)])
    first = next((r for r in rows if r is not None), None)
    dtype = first.dtype if first is not None else torch.float32
    shape = (len(rows), longest) if num_features is None else (len(rows), longest, num_features)
    padded = torch.full(shape, fill, dtype=dtype)
    valid_BT = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        if row is not None:
            padded[i, : len(row)] = row
            valid_BT[i, : len(row)] = True
    return padded, valid_BT


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


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, but is {value!r}.")
