"""Tell what a released checkpoint is, and what of it each system that takes it would use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonolex.pretrained.checkpoint import KINDS, open_checkpoint
from sonolex.systems.base import system_type


@dataclass(frozen=True)
class Use:
    """What one system makes of a checkpoint.

    Attributes:
        system: its name.
        part: what `Run.pretrained` calls it.
        used, unused: tensors of the checkpoint.
        missing: what the system looks for in vain.
        problem: why it cannot take it; "" if it can.
        counted: False where the checkpoint does not tell the system's sizes, so that only a run can count.
    """

    system: str
    part: str
    used: Sequence[str] = ()
    unused: Sequence[str] = ()
    missing: Sequence[str] = ()
    problem: str = ""
    counted: bool = True


@dataclass(frozen=True)
class Inspected:
    """A checkpoint, in numbers and words."""

    path: Path
    title: str
    num_tensors: int
    num_values: int
    dtypes: Sequence[str]
    uses: Sequence[Use]


def inspected(place: str) -> Inspected:
    """Return what a checkpoint is: a file, a folder or ``hub:ORG/NAME``. Raises as `open_checkpoint`."""
    checkpoint = open_checkpoint(place)
    parts = KINDS[checkpoint.kind].parts if checkpoint.kind else {}
    tensors = checkpoint.weights.values()
    return Inspected(
        checkpoint.path,
        checkpoint.title,
        len(checkpoint.weights),
        sum(x.numel() for x in tensors),
        sorted({str(x.dtype).removeprefix("torch.") for x in tensors}),
        [_use(system, part, str(checkpoint.path)) for system, part in parts.items()],
    )


def _use(name: str, part: str, place: str) -> Use:
    """Return what a system of the checkpoint's sizes takes from it; it is built to try."""
    kind: Any = system_type(name)
    if not hasattr(kind.config_type, "like") or part == "wav2vec2":
        return Use(name, part, counted=False)
    try:
        (report,) = kind(kind.config_type.like(place)).import_pretrained({part: place}).values()
    except (ValueError, OSError, ImportError) as e:
        return Use(name, part, problem=str(e))
    return Use(name, part, report.used, report.unused, report.missing)
