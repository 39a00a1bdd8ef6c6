"""Arrays on disk, as numpy's .npz: written whole, and read without trusting the file's claims about itself.

A few bytes of a zip can claim terabytes. The sizes in the headers of the zip and of its arrays must agree
and be within limits before anything is allocated; arrays that need pickle are refused.
"""

from __future__ import annotations

import math
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from sonolex.files import atomic_file

MOST_MEMBERS = 1000
KINDS = "biufU"  # truth values, whole and real numbers, text
_UNREADABLE = (
    ValueError, EOFError, OSError, OverflowError, MemoryError, RecursionError, NotImplementedError, RuntimeError,
    SyntaxError, TypeError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as a compressed .npz, whole or not at all."""
    with atomic_file(path) as building, building.open("wb") as f:
        named: dict[str, Any] = dict(arrays)
        np.savez_compressed(f, **named)


def load_arrays(path: Path, *, most_bytes: int) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz by name. ``most_bytes`` limits the file, and all arrays together.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no regular file, no .npz, one that is larger than allowed, or that holds anything but numbers and
            text.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} must be a file, but is none.")
    if status.st_size > most_bytes:
        raise ValueError(f"{path} must have at most {most_bytes:,} bytes, but has {status.st_size:,}.")
    try:
        with zipfile.ZipFile(path) as z:
            members = z.infolist()
            total = sum(m.file_size for m in members)
            if len(members) > MOST_MEMBERS or total > most_bytes:
                raise ValueError(f"its {len(members)} arrays claim {total:,} bytes; {most_bytes:,} are allowed")
            return {m.filename.removesuffix(".npy"): _array(z, m) for m in members}
    except _UNREADABLE as e:
        raise ValueError(
            f"{path} must hold arrays of numbers or text, but cannot be read: {e}. Write it again."
        ) from None


def _array(z: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with z.open(member) as f:
        shape, by_column, dtype = _header(f)
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind not in KINDS or dtype.hasobject:
            raise ValueError(f"{member.filename} holds {dtype}")
        if any(n < 0 for n in shape) or f.tell() + size != member.file_size:
            raise ValueError(f"{member.filename} claims the shape {shape}, but has {member.file_size:,} bytes")
        content = f.read()
    if len(content) != size:
        raise ValueError(f"{member.filename} ends too early")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_column else "C")


def _header(f: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(f)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(f)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(f)
    raise ValueError(f"version {version} of the format")
