"""Copy tensors of a published checkpoint into ours, and account for every key: shared by all families."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sonolex.weights import require_finite

BUFFERS = ("position_ids", "token_type_ids")  # in files of Hugging Face's BERT; no weights


@dataclass(frozen=True)
class ImportReport:
    """The ``used`` and ``unused`` keys of a checkpoint, and the ``missing`` ones, whose tensors stay as they were."""

    used: tuple[str, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]


def copy_found(pairs: Mapping[tuple[str, ...], Tensor], weights: Mapping[str, Tensor]) -> ImportReport:
    """Copy the tensors that the checkpoint has into ours; several keys for one of ours are concatenated.

    Raises:
        ValueError: a shape differs, or half of the tensors or a whole layer are missing.
    """
    used: list[str] = []
    missing: list[str] = []
    for keys, ours in pairs.items():
        if not all(k in weights for k in keys):
            missing += keys
            continue
        _copy(keys, weights[keys[0]] if len(keys) == 1 else torch.cat([weights[k] for k in keys]), ours)
        used += keys
    unused = [k for k in weights if k not in used and not k.endswith(BUFFERS)]
    return _require_matched(ImportReport(tuple(used), tuple(unused), tuple(missing)))


def copy_all(pairs: Mapping[tuple[str, ...], Tensor], weights: Mapping[str, Tensor], *, whole: str) -> ImportReport:
    """Copy the checkpoint's tensors into ours, all or none.

    Args:
        pairs: our tensors by the checkpoint's keys; several keys are concatenated.
        whole: kind of checkpoint, for the error.

    Raises:
        ValueError: a key is missing, or a shape differs.
    """
    missing = [key for keys in pairs for key in keys if key not in weights]
    if missing:
        raise ValueError(
            f"{whole} must have {missing[0]!r} ({len(missing)} keys are missing) "
            f"but has keys such as {next(iter(weights), None)!r}."
        )
    return copy_found(pairs, weights)


class Found:
    """Copies a checkpoint's tensors into ours, and remembers which keys were used and which were missing."""

    def __init__(self, weights: Mapping[str, Tensor]):
        self._weights = weights
        self._used: list[str] = []
        self._missing: list[str] = []

    def take(self, names: Iterable[str], ours: Tensor, change: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Fill ``ours`` with the changed concatenation of these tensors. Raises ValueError if its shape differs."""
        names = list(names)
        if not all(n in self._weights for n in names):
            self._missing.extend(names)
            return
        _copy(names, change(torch.cat([self._weights[n] for n in names])), ours)
        self._used.extend(names)

    def report(self) -> ImportReport:
        """Return the used, unused and missing keys. Raises ValueError if half of them are missing."""
        unused = [k for k in self._weights if k not in self._used]
        return _require_matched(ImportReport(tuple(dict.fromkeys(self._used)), tuple(unused), tuple(self._missing)))


def _require_matched(report: ImportReport) -> ImportReport:
    """Return the report of an import that lacks at most single tensors.

    Raises:
        ValueError: half of the tensors are missing (the checkpoint is of another kind, or has other names), or a whole
            layer is, which would stay random.
    """
    wanted = len(report.used) + len(report.missing)
    if len(report.used) <= len(report.missing):
        raise ValueError(
            f"the checkpoint must hold the tensors of this part, but has {len(report.used)} of {wanted}: it lacks "
            f"{_first(report.missing)}; it has besides {_first(report.unused)}. Is it of another kind of model?"
        )
    random = sorted({*map(_layer_of, report.missing)} - {*map(_layer_of, report.used), ""}, key=_by_number)
    if random:
        raise ValueError(
            f"the checkpoint must hold every layer of ours, but lacks {_first(random)}, which would stay random. Build "
            "the model with its number of layers."
        )
    return report


def _layer_of(key: str) -> str:
    """Return the layer a key belongs to, "encoder.layer.3", or nothing."""
    match = re.match(r".*?layers?\.\d+(?=\.)", key)
    return match[0] if match else ""


def _by_number(layer: str) -> tuple[str, int]:
    place, _, number = layer.rpartition(".")
    return place, int(number)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more or "nothing"


def _copy(keys: Iterable[str], published: Tensor, ours: Tensor) -> None:
    """Copy one published tensor into ours. Raises ValueError if shape or kind differ, or a number is not finite."""
    if published.shape != ours.shape:
        raise ValueError(f"{list(keys)} must have shape {tuple(ours.shape)}, but have {tuple(published.shape)}.")
    if published.is_floating_point() != ours.is_floating_point():
        raise ValueError(f"{list(keys)} must hold {ours.dtype} numbers or alike, but hold {published.dtype}.")
    require_finite("the checkpoint", " and ".join(keys), published)
    with torch.no_grad():
        ours.copy_(published)
