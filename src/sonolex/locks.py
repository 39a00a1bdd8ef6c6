"""Locks between processes that share a folder: the system releases them when a process ends, however it ends.

A lock is a file under ``.locks`` that its holder has locked (flock) and signed. The file itself stays; its
presence means nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sonolex.files import writing

FOLDER = ".locks"
SIGNATURE_BYTES = 200
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Held(OSError):
    """Another process holds a lock that this one needs; the message names it."""


@contextmanager
def only_here(folder: Path, name: str, doing: str) -> Iterator[None]:
    """Context: no other process holds the lock ``name`` of a folder.

    Raises:
        Held: one does; ``doing`` is the verb of the message: "trains in", "writes".
    """
    with holding(folder, name, wait=False) as free:
        if not free:
            raise Held(
                f"{folder} must be free, but another process ({_holder(folder, name)}) {doing} it. "
                "Wait until it has finished, end it, or name another folder."
            )
        yield


@contextmanager
def holding(folder: Path, name: object, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock ``name`` of a folder; without ``wait``, yield whether it was free.

    Raises:
        OSError: the folder cannot be written to, or its filesystem has no locks.
    """
    path = folder / FOLDER / str(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        if not locked(file, wait=wait):
            yield False
            return
        with writing(path):
            file.truncate(0)
            file.write(_signature())
        try:
            yield True
        finally:
            with suppress(OSError):  # the signature only names the holder: the lock ends with the file
                file.truncate(0)


def is_held(folder: Path, name: object) -> bool:
    """Return whether some process holds the lock."""
    with holding(folder, name, wait=False) as free:
        return not free


def locked(file: IO[Any], *, wait: bool = False) -> bool:
    """Lock an open file until it is closed or the process ends; return whether it was free.

    Raises:
        OSError: its filesystem has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as e:
        if e.errno not in NO_LOCKS:
            raise
        raise OSError(
            f"{file.name} must be on a filesystem with file locks (flock), but this one has none: {e.strerror}. "
            "Name a folder on another disk."
        ) from e
    return True


def _signature() -> bytes:
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    return f"pid {os.getpid()} on {socket.gethostname()}, since {now}".encode()[:SIGNATURE_BYTES]


def _holder(folder: Path, name: str) -> str:
    with (folder / FOLDER / name).open("rb") as file:
        signed = file.read(SIGNATURE_BYTES).decode("utf-8", "replace")
    return "".join(c for c in signed if c.isprintable()) or "not signed yet"
