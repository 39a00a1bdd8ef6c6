"""Tensors in safetensors files: every claim of a file is checked before memory is spent on it.

safetensors itself checks that the header's sizes and places agree with each other and with the file.
"""

from __future__ import annotations

import json
import math
import reprlib
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sonolex.files import require_file

MOST_HEADER_BYTES = 16 << 20  # a name takes about 100 bytes; the largest published models have 50,000 tensors
SHOWN = 5  # names in one message
CURE = "Copy it again."


@dataclass(frozen=True)
class Stored:
    """Shape and type of a tensor, as its file claims."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def read_header(path: Path) -> dict[str, Stored]:
    """Return name, shape and type of every tensor in a safetensors file, without reading one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, or holds numbers that this package does not read.
    """
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        types = {name: s.get_dtype() for name, s in slices.items()}
        unknown = {name: t for name, t in types.items() if t not in _DTYPES}
        if unknown:
            name, dtype = next(iter(unknown.items()))
            raise ValueError(f"{path} must hold {', '.join(_DTYPES)} numbers, but {name!r:.80} is {dtype}.")
        return {name: Stored(tuple(s.get_shape()), _DTYPES[types[name]]) for name, s in slices.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, in memory of their own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def require_finite(where: str, name: str, value: Tensor) -> None:
    """Raise ValueError if a tensor holds NaN or an infinite number: whatever is computed with it would be NaN too."""
    if not value.is_floating_point():
        return
    # A sum is one pass without memory; it may overflow where every number is finite.
    if not math.isfinite(float(value.sum())) and not bool(torch.isfinite(value).all()):
        raise ValueError(
            f"{where}: weights must be finite numbers, but {name!r} holds NaN or infinity. Train or download it again."
        )


def require_fit(where: str, stored: Mapping[str, Stored], wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming tensors, unless a file holds exactly the ``wanted`` ones.

    Shapes must be equal. Types too, except that F16 and BF16 may stand for F32, which holds their numbers exactly.
    Whole numbers are not weights, and F64 would be rounded.
    """
    problems = {
        "it lacks": [reprlib.repr(n) for n in wanted if n not in stored],
        "it has besides": [reprlib.repr(n) for n in stored if n not in wanted],
        "shapes differ in": [
            f"{n!r} ({tuple(wanted[n].shape)} wanted, {s.shape} found)"
            for n, s in stored.items()
            if n in wanted and s.shape != tuple(wanted[n].shape)
        ],
        "types differ in": [
            f"{n!r} ({_short(wanted[n].dtype)} wanted, {_short(s.dtype)} found)"
            for n, s in stored.items()
            if n in wanted and not _keeps(s.dtype, wanted[n].dtype)
        ],
    }
    differences = [f"{what} {', '.join(n[:SHOWN])} ({len(n)} in all)" for what, n in problems.items() if n]
    if differences:
        raise ValueError(f"{where} must hold the weights of its config, but {'; '.join(differences)}.")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file with the mode of a new file; safetensors itself makes it readable by its owner alone."""
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path, metadata=metadata)
    path.chmod(stat.S_IMODE(mode))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Context: safetensors' view of a file; its errors become a ValueError that names the file."""
    from safetensors import SafetensorError, safe_open

    size, announced = require_file(path), _announced_bytes(path)
    if size != announced:
        raise ValueError(f"{path} must have the {announced:,} bytes that its header claims, but has {size:,}. {CURE}")
    try:
        with safe_open(path, framework="pt") as opened:
            yield opened
    except (SafetensorError, RuntimeError, MemoryError) as e:
        raise ValueError(f"{path} must be a safetensors file, but cannot be read: {e}. {CURE}") from None


def _announced_bytes(path: Path) -> int:
    """Return how long a file is by its own header; it is not mapped before, because it may be a sparse one of a TB."""
    with path.open("rb") as file:
        start = file.read(8)
        header = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < header <= MOST_HEADER_BYTES:
            raise ValueError(f"{path} must be a safetensors file, but does not begin as one. {CURE}")
        try:
            tensors = json.loads(file.read(header))
            ends = [int(t["data_offsets"][1]) for name, t in tensors.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as e:
            raise ValueError(f"{path} must be a safetensors file, but its header cannot be read: {e}. {CURE}") from None
    return 8 + header + max(ends, default=0)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _keeps(stored: torch.dtype, wanted: torch.dtype) -> bool:
    """Return whether every number of one type is one of the other."""
    return stored == wanted or (wanted == torch.float32 and stored in (torch.float16, torch.bfloat16))


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
