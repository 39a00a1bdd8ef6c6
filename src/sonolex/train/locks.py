"""Locks between processes that share a folder: the system gives them back when a process ends, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = ".locks"


@contextmanager
def holding(folder: Path, name: object, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock ``name`` of a folder; without ``wait``, yield whether it could be had."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    with (folder / FOLDER / str(name)).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def is_held(folder: Path, name: object) -> bool:
    """Return whether some process holds the lock."""
    with holding(folder, name, wait=False) as free:
        return not free
