"""Files on disk: written whole or not at all, and read within limits.

Whatever sonolex writes that a later command reads goes through `atomic_file` or `atomic_folder`: a process that is
killed, or a disk that is full, leaves the old file or the new one, never half of one. Everything here is standard
library, so that every layer may use it.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonolex import configs

BUILDING = ".building-"  # begins the name of a file or folder that is being written
REPLACED = ".replaced-"  # begins the name of a folder whose replacement is taking its place
MOST_JSON_BYTES = 64 << 20  # settings and results take kilobytes; what takes more says so where it is read


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Context: a path to write to, in the same folder, that takes the name ``path`` only when all went well."""
    building = path.with_name(f"{BUILDING}{os.getpid()}-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield building
        _sync(building)
        building.replace(path)
    except BaseException:
        building.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Context: a folder to fill that takes the name ``folder``, replacing an older one, only when all went well.

    Killed while the older one makes room, `recover` gives it its name back.
    """
    building = folder.with_name(f"{BUILDING}{os.getpid()}-{folder.name}")
    replaced = folder.with_name(f"{REPLACED}{os.getpid()}-{folder.name}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        yield building
        for place in [*building.rglob("*"), building]:
            _sync(place)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(replaced)
    building.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def recover(folder: Path) -> None:
    """Remove what killed writers left in ``folder``, and give a folder they were replacing its name back.

    Only for a process that holds the folder's lock: nobody else may be writing there.
    """
    for place in folder.glob(f"{REPLACED}*"):
        name = folder / place.name.removeprefix(REPLACED).partition("-")[2]
        if name.exists():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.rename(name)
    for place in folder.glob(f"{BUILDING}*"):
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_file(path) as building:
        building.write_text(text, encoding="utf-8")


def save_json(path: Path, values: Any) -> None:
    """Write a dataclass or plain values as indented JSON, whole or not at all."""
    write_text(path, json.dumps(configs.to_json(values), indent=2, sort_keys=True) + "\n")


def require_file(path: Path, *, most_bytes: int | None = None) -> int:
    """Return the size of a regular file, before anything opens it: reading a pipe may wait forever.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a folder, pipe or device, or more bytes than ``most_bytes``.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} must be a file, but is none.")
    if most_bytes is not None and found.st_size > most_bytes:
        raise ValueError(f"{path} must have at most {most_bytes:,} bytes, but has {found.st_size:,}.")
    return found.st_size


def load_json(path: Path, *, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Return the values in a JSON file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no regular file, a larger one, or no JSON.
    """
    require_file(path, most_bytes=most_bytes)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:  # ValueError: JSON, UTF-8, integers of more than 4,300 digits
        raise ValueError(f"{path} must hold JSON, but cannot be read: {e}. Write or copy it again.") from None


def load_object(path: Path, *, most_bytes: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """Return the object in a JSON file. Raises as `load_json`, and ValueError if it holds anything else."""
    found = load_json(path, most_bytes=most_bytes)
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object, but holds {type(found).__name__}. Write or copy it again.")
    return found


def _sync(place: Path) -> None:
    """Ask the system to put a file, or the names in a folder, on the disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
