"""Losses of optimiser steps, read from the device some steps later, so that it never waits for the journal.

Each step leaves one small tensor behind, which is on its way to the CPU while the next steps run. A loss that is not
finite is noticed when its step is read, which is before anything of it is saved, evaluated or reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sonolex.train import group
from sonolex.train.journal import Journal
from sonolex.types import Term


class StepLosses:
    """Steps whose losses are not in the journal yet.

    Args:
        every: number of steps that are read at once; the newest one stays on the device until the next reading.
    """

    def __init__(self, journal: Journal, *, every: int):
        self._journal, self._every = journal, every
        self._waiting: list[_Step] = []
        self.last: float | None = None
        """Total of the last step that was read."""

    def add(
        self,
        sums: Sequence[tuple[str, Tensor]],
        counts: Mapping[str, float | Tensor],
        terms: Mapping[str, Term],
        joint: Mapping[str, Term],
        *,
        gradient_norm: Tensor,
        clip_ids: Sequence[str],
        **line: Any,
    ) -> None:
        """Keep one step.

        Args:
            sums: of each term in each batch of this process, by name.
            counts: number of items, over all processes, that each term averages over.
            terms: of the last batch, for their weights.
            joint: terms that were computed over all clips of the step.
            line: further fields of the journal's line.
        """
        named = [("norm", "", gradient_norm)]
        named += [("sums", name, x) for name, x in sums]
        named += [("means", name, term.mean) for name, term in joint.items()]
        named += [("counts", name, x) for name, x in counts.items() if isinstance(x, Tensor)]
        numbers = _OnTheirWay(torch.stack([x.detach().float() for *_, x in named]))
        weights = {name: term.weight for name, term in {**terms, **joint}.items()}
        line = {"time_s": self._journal.elapsed_s} | line
        known = {name: float(x) for name, x in counts.items() if not isinstance(x, Tensor)}
        self._waiting.append(_Step([n[:2] for n in named], numbers, known, weights, list(clip_ids), line))
        if len(self._waiting) > self._every:
            self._read(self._every)

    def read(self) -> None:
        """Write all steps into the journal.

        Raises:
            ValueError: the loss of a step is not finite; the message lists its clips.
        """
        self._read(len(self._waiting))

    def _read(self, number: int) -> None:
        steps, self._waiting = self._waiting[:number], self._waiting[number:]
        measured = [step.read() for step in steps]
        by_process = group.gathered([m["sums"] for m in measured])
        for i, (step, by_kind) in enumerate(zip(steps, measured, strict=True)):
            sums, counts = group.summed([process[i] for process in by_process]), step.counts | by_kind["counts"]
            means = {name: x / max(counts.get(name, 0.0), 1.0) for name, x in sums.items()} | by_kind["means"]
            means["total"] = sum(step.weights.get(name, 1.0) * x for name, x in means.items())
            if not math.isfinite(means["total"]):
                ids = [c for some in group.gathered(step.clip_ids) for c in some]
                raise ValueError(
                    f"loss must be finite, but is {means} at step {step.line['step'] - 1} (clips {ids}). "
                    "Lower the learning rate, or look at these clips."
                )
            self.last, norm = means["total"], by_kind["norm"][""]
            norm = norm if math.isfinite(norm) else None  # a step that gradient scaling leaves out
            self._journal.write("step", means, **step.line, gradient_norm=norm)


@dataclass(frozen=True)
class _Step:
    """One step: its numbers on their way, with the kind and name of each, and what the CPU knows already."""

    names: Sequence[tuple[str, str]]
    numbers: _OnTheirWay
    counts: dict[str, float]
    weights: Mapping[str, float]
    clip_ids: list[str]
    line: Mapping[str, Any]

    def read(self) -> dict[str, dict[str, float]]:
        """Return the numbers by kind and name; several of one name are added up."""
        by_kind: dict[str, dict[str, float]] = {kind: {} for kind in ("norm", "sums", "means", "counts")}
        for (kind, name), x in zip(self.names, self.numbers.read(), strict=True):
            by_kind[kind][name] = by_kind[kind].get(name, 0.0) + x
        return by_kind


class _OnTheirWay:
    """Numbers that are copied to the CPU while the device goes on."""

    def __init__(self, x_N: Tensor):
        self._x_N, self._arrived = x_N, None
        if x_N.device.type == "cuda":
            self._x_N = torch.empty_like(x_N, device="cpu", pin_memory=True).copy_(x_N, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> list[float]:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._x_N.tolist()
