"""Base of all systems: a config, and a model with `encode` and `pretraining_losses` that reads a processor's batches.

A system module holds a subclass of both and names the system in ``SYSTEM``. Nothing is registered:
`sonolex.configs.find_module("systems", name)` is the lookup.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sonolex import configs
from sonolex.processors.base import Processor
from sonolex.types import Batch, Encoding, Term

LONGEST_STARTER_S = 60.0  # attention over more than a minute costs too much; longer clips are refused by name


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
            raise ValueError(f"sizes, shares and ids must be at least 0, but these are not: {', '.join(negative)}.")


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
    """The subset that compares clips with each other (`joint_losses`)."""

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
        """Return the offered modalities that the system reads.

        Raises:
            ValueError: it reads none of them.
        """
        modalities = tuple(m for m in offered if any(m in accepted for accepted in cls.accepts))
        if not modalities:
            raise ValueError(f"`modalities` must include one that {cls.name} reads, but are {', '.join(offered)} only.")
        return modalities

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
        """Return the loss terms of single clips, for a batch that `corrupt` prepared."""
        return {}

    def pretraining_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per clip, (B, D) by name, for objectives that compare clips with each other.

        The trainer joins the rows of all accumulated batches and processes before it calls `joint_losses`, so these
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
        """Return warnings about pre-training with ``clips_per_step`` clips a step. Default: none."""
        return []

    def penalty_counts(self, batch: Batch) -> dict[str, float]:
        """Return how many items each of `encode`'s penalties averages over. Default: no penalties."""
        return {}

    @abc.abstractmethod
    def layer_groups(self) -> dict[str, list[nn.Module]]:
        """Return named groups of parts from input to output, for freezing and per-group learning rates."""


def system_type(name: str, *, trust_code: bool = False) -> type[System]:
    """Return the class of system ``name``, which may be the user's own module: see `find_module`."""
    return configs.find_module("systems", name, trust_code=trust_code).SYSTEM


def system_name(system: System) -> str:
    """Return the name that `system_type` resolves to this system; for a user's system, its dotted module."""
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

    ``name`` may be the dotted module of the caller's own system; resolve a name from a file with `system_type`.
    """
    with seeded_build(seed):
        return system_type(name, trust_code=True)(config)  # type: ignore[call-arg]


def count_parameters(module: nn.Module) -> int:
    """Return the number of values in ``module``, shared tensors counted once."""
    return sum(p.numel() for p in module.parameters())
