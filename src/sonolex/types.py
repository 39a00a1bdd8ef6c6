"""Padded, Batch, Encoding and Losses, which travel between a processor, a system, its tasks and the training loop.

Shape legend of the whole package (a tensor's name ends in its shape)::

    B batch    S samples    T frames    F mel bins    P patches    L text tokens
    D model width    V vocabulary    C classes    N pairs

Three kinds of mask, three names: ``valid_BT`` (True = real, not padding), ``chosen_BT`` (True = hidden by an
objective), ``attends_BTT`` (True = may look).

The dataclasses here are treated as immutable, but are not frozen: Fabric rebuilds them when it casts precision.

Nothing here is read back from a device before it has to be: whatever can be counted is counted while a batch is made
(`Padded.lengths`, `Batch.counts`), so that a GPU never waits for the CPU inside a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sonolex.places import places_of

MODALITIES = ("audio", "text")
NO_UNIT = -1


@dataclass
class Example:
    """One clip after the processor's front end: CPU tensors without padding, before a batch is formed.

    ``audio`` is (T, F) for systems that read frames and (S,) for systems that read samples; ``tokens_L`` is None
    when the clip has no transcript, ``audio`` is None when it has no sound. A clip mixed with another one has the other
    one's labels in ``other_labels`` and its own share of the mixture in ``own_share``. ``partner`` is the audio of
    another clip with another transcript, for objectives that ask whether sound and words belong together. ``units_T``
    are hidden units of the clip's own audio.
    """

    clip_id: str
    audio: Tensor | None
    tokens_L: Tensor | None
    labels: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    other_labels: Mapping[str, Any] = field(default_factory=dict)
    own_share: float = 1.0
    partner: Tensor | None = None
    units_T: Tensor | None = None


class Padded(NamedTuple):
    """Rows of different lengths in one tensor, padded at their end.

    Attributes:
        values: (B, T), or (B, T, …).
        valid: (B, T), True = real; an all-False row where a clip has nothing.
        lengths: number of real places of each row, known to the CPU. None where it is not (in an exported program):
            then padding is computed too, and left out of every result all the same.
    """

    values: Tensor
    valid: Tensor
    lengths: tuple[int, ...] | None = None

    @classmethod
    def of(cls, values: Tensor, valid: Tensor) -> Padded:
        """Return the pair with its lengths, counted now: for tensors on the CPU."""
        return cls(values, valid, tuple(valid.sum(1).tolist()))

    def to(self, device: torch.device, *, non_blocking: bool = True) -> Padded:
        """Return it on ``device``."""
        values, valid = (x.to(device, non_blocking=non_blocking) for x in (self.values, self.valid))
        return Padded(values, valid, self.lengths)

    def with_values(self, values: Tensor) -> Padded:
        """Return other values of the same rows."""
        return self._replace(values=values)

    def places(self) -> Tensor:
        """Return the real places (N,), row by row (`sonolex.places`); all places where the lengths are not known."""
        batch, longest = self.valid.shape
        if self.lengths is None:
            return torch.arange(batch * longest, device=self.valid.device)
        return places_of(self.lengths, longest).to(self.valid.device, non_blocking=True)


@dataclass
class Batch:
    """Padded rows of each modality, raw labels, and the tasks' additions.

    A system declares which audio form it reads: ``frames`` (B, T, F) or ``samples`` (B, S). A clip without a modality
    has an empty row there. ``seeds`` holds one seed per clip and epoch: all per-clip randomness (masks, mismatched
    pairs) is drawn from it, so batch composition and number of processes change nothing.
    """

    clip_ids: tuple[str, ...]
    frames: Padded | None = None
    samples: Padded | None = None
    tokens: Padded | None = None
    """Ids (B, L)."""
    labels: Mapping[str, tuple] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    other_labels: Mapping[str, tuple] = field(default_factory=dict)
    own_shares: tuple[float, ...] = ()
    """Of clips mixed with another clip; empty where nothing is mixed."""
    partners: Padded | None = None
    """Audio of other clips, where the loader drew one (an empty row where it did not); None if none was wanted."""
    units_BT: Tensor | None = None
    """Hidden units of the audio, `NO_UNIT` after a clip's end; None if the processor makes none."""
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    """Added by tasks: the targets of each task's loss, by the task's name."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Added by a system's ``corrupt``: chosen places and corrupted inputs, as tensors and `Padded`, and the CPU's
    counts, under the system's own names."""
    counts: Mapping[str, float] = field(default_factory=dict)
    """Added by tasks: number of items each loss term averages over, known before the forward pass."""

    def __len__(self) -> int:
        return len(self.clip_ids)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with every tensor on ``device``."""
        moved = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor | Padded):
                moved[f.name] = value.to(device, non_blocking=True)
            elif f.name in ("targets", "extras"):
                moved[f.name] = {
                    k: v.to(device, non_blocking=True) if isinstance(v, Tensor | Padded) else v
                    for k, v in value.items()
                }
        return replace(self, **moved)

    def adding(
        self,
        *,
        targets: Mapping[str, Tensor] | None = None,
        extras: Mapping[str, Any] | None = None,
        counts: Mapping[str, float] | None = None,
    ) -> Batch:
        """Return a copy with more targets, extras or counts."""
        return replace(
            self,
            targets={**self.targets, **(targets or {})},
            extras={**self.extras, **(extras or {})},
            counts={**self.counts, **(counts or {})},
        )


@dataclass
class Term:
    """One loss term of one batch: a sum over ``count`` items, so that any grouping of batches has the same mean.

    ``count`` is a tensor () where only the device knows it (pairs that an objective finds among the clips of a step).
    """

    sum: Tensor
    count: float | Tensor
    weight: float = 1.0

    @property
    def mean(self) -> Tensor:
        return self.sum / at_least_one(self.count)


def at_least_one(count: float | Tensor) -> float | Tensor:
    """Return a count to divide by."""
    return count.clamp_min(1.0) if isinstance(count, Tensor) else max(count, 1.0)


@dataclass
class Losses:
    """Named loss terms. ``total`` is the weighted sum of their means.

    ``surrogate`` has no value of its own: it carries the gradient of objectives that were computed over more clips than
    these (accumulated batches, other processes) through this batch's part of the network.
    """

    terms: Mapping[str, Term]
    surrogate: Tensor | None = None

    @property
    def total(self) -> Tensor:
        return self.total_over({name: term.count for name, term in self.terms.items()})

    def total_over(self, counts: Mapping[str, float | Tensor]) -> Tensor:
        """Return Σ weight · sum / count with counts of a larger effective batch (accumulation, other processes)."""
        total = torch.zeros(())
        for name, term in self.terms.items():
            total = total.to(term.sum.device) + term.weight * term.sum / at_least_one(counts[name])
        return total if self.surrogate is None else total.to(self.surrogate.device) + self.surrogate


@dataclass
class Encoding:
    """What a system returns for a batch.

    Attributes:
        pooled_BD: one vector per clip, of the system's ``pooled_dim``.
        streams: hidden states by modality, e.g. ``{"audio": (B, T', D), "text": (B, L, D)}``.
        valid: validity of each stream, at the stream's own rate.
        penalties: loss terms that every fine-tuning adds (CTAL's orthogonal term).
        aligned: unit vectors (B, D) by modality, comparable across modalities, of systems trained for it.
        layers: the states of each stream before and after every layer, as ``streams``, of systems that return them.
    """

    pooled_BD: Tensor
    streams: Mapping[str, Tensor] = field(default_factory=dict)
    valid: Mapping[str, Tensor] = field(default_factory=dict)
    penalties: Mapping[str, Term] = field(default_factory=dict)
    aligned: Mapping[str, Tensor] = field(default_factory=dict)
    layers: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
