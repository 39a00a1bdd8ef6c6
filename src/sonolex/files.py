"""Files on disk: written whole or not at all, and read within limits.

Files that a later command reads are written by `atomic_file`, `atomic_folder` or `append_line`: a killed process or a
full disk leaves the old file or the new one, never half of one. Standard library only, so that every layer may use it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from sonolex import configs

BUILDING = ".building-"  # begins the name of a file or folder that is being written
REPLACED = ".replaced-"  # begins the name of a folder whose replacement is taking its place
MOST_JSON_BYTES = 64 << 20  # settings and results take kilobytes; larger files have a limit of their own

# What killed writers leave: ".building-PID.MARK-NAME", ".replaced-…", and once ".NAME.PID.building", ".NAME.PID.old".
_LEFT = re.compile(r"\.(?:(?P<state>building|replaced)-[^-]*-(?P<name>.+)|(?P<was>.+)\.\d+\.(?P<old>building|old))")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DISK = (*_FULL, errno.EIO, errno.EFBIG)


class NotWritten(OSError):
    """A file that could not be written: the message names it and says what to do."""


@contextmanager
def atomic_file(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """Context: a path to write to, in the same folder, that takes the name ``path`` only when all went well.

    Args:
        synced: wait for the disk, which takes milliseconds; False for many files, where the caller waits once.

    Raises:
        NotWritten: the disk is full or broken.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        building = path.with_name(_temporary(BUILDING, path))
        try:
            yield building
            if synced:
                sync(building)
            building.replace(path)
        except BaseException:
            with suppress(OSError):
                building.unlink(missing_ok=True)
            raise
        if synced:
            sync(path.parent)


@contextmanager
def atomic_folder(folder: Path, *, synced: bool = True) -> Iterator[Path]:
    """Context: a folder to fill that takes the name ``folder``, replacing an older one, only when all went well.

    If the process is killed during the replacement, `recover` gives the older one its name back.

    Args:
        synced: wait until every file is on the disk; not for thousands of them that can be made again.

    Raises:
        NotWritten: the disk is full or broken.
    """
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = folder.with_name(_temporary(BUILDING, folder))
        replaced = folder.with_name(_temporary(REPLACED, folder))
        try:
            building.mkdir()
            yield building
            for place in [*building.rglob("*"), building] if synced else ():
                sync(place)
            _take_place(building, folder, replaced)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        sync(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder at once: it loses its name first, so that a half-removed one is never taken for a whole one."""
    if folder.exists():
        gone = folder.rename(folder.with_name(_temporary(BUILDING, folder)))
        shutil.rmtree(gone, ignore_errors=True)


def recover(folder: Path, *, name: str | None = None) -> None:
    """Remove the remains of killed writers from ``folder``, and restore the name of a folder they were replacing.

    Only for a process that holds the lock of the folder, or of ``name`` in it: nobody else may be writing there.
    """
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _LEFT.fullmatch(place.name)
        target = match and (match["name"] or match["was"])
        if match is None or target is None or name not in (None, target):
            continue
        if (match["state"] or match["old"]) in ("replaced", "old") and not (folder / target).exists():
            place.rename(folder / target)
        elif place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


def recover_all(folder: Path) -> None:
    """`recover` a folder and all folders in it, however deep; for a process that holds the lock of all of them."""
    for place in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        recover(place)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_file(path) as building:
        building.write_text(text, encoding="utf-8")


def save_json(path: Path, values: Any) -> None:
    """Write a dataclass or plain values as indented JSON, whole or not at all."""
    write_text(path, json.dumps(configs.to_json(values), indent=2, sort_keys=True) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append one line, whole or, where the disk is full, not at all. `drop_half_line` removes a half-written one."""
    append_bytes(path, (line + "\n").encode("utf-8"))


def append_bytes(path: Path, rest: bytes) -> None:
    """Append bytes, all of them or, where the disk is full, none."""
    with writing(path), path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(before)
            raise


def drop_half_line(path: Path, *, block_bytes: int = 1 << 16) -> None:
    """Remove the last line of a file if a killed process did not finish it; the next one would be glued to it."""
    if not path.is_file():
        return
    with writing(path), path.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - block_bytes)
            file.seek(start)
            line_ends = file.read(end - start).rfind(b"\n") + 1
            end = start + line_ends
            if line_ends:
                break
        if end < size:
            file.truncate(end)


def sync(place: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_file(path: Path, *, most_bytes: int | None = None) -> int:
    """Return the size of a regular file, before anything opens it: reading a pipe may wait forever.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder, pipe or device, or more bytes than ``most_bytes``.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} must be a file, but is none.")
    if most_bytes is not None and status.st_size > most_bytes:
        raise ValueError(f"{path} must have at most {most_bytes:,} bytes, but has {status.st_size:,}.")
    return status.st_size


def load_json(path: Path, *, most_bytes: int = MOST_JSON_BYTES, cure: str = "Write or copy it again.") -> Any:
    """Return the values in a JSON file.

    Args:
        cure: advice about a file that is cut off or spoilt, for the error.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no regular file, a larger one, or no JSON.
    """
    require_file(path, most_bytes=most_bytes)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{path} must hold JSON, but {not_utf8(path)} and is no UTF-8 text. {cure}") from None
    except (ValueError, RecursionError) as e:  # ValueError: JSON, UTF-8, integers of more than 4,300 digits
        raise ValueError(f"{path} must hold JSON, but cannot be read: {e}. {cure}") from None


def load_object(
    path: Path, *, most_bytes: int = MOST_JSON_BYTES, cure: str = "Write or copy it again."
) -> dict[str, Any]:
    """Return the object in a JSON file. Raises as `load_json`, and ValueError if it holds anything else."""
    values = load_json(path, most_bytes=most_bytes, cure=cure)
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold an object, but holds {type(values).__name__}. {cure}")
    return values


@contextmanager
def utf8_text(path: Path) -> Iterator[TextIO]:
    """Context with a text file to read, line ends as they are (the csv module wants them so).

    Raises:
        ValueError: no UTF-8 text, by line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield file
        except UnicodeDecodeError:
            raise ValueError(f"{path} must be UTF-8 text, but {not_utf8(path)}. Save it as UTF-8 text.") from None


def not_utf8(path: Path) -> str:
    """Return a description of the first byte of a file that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as e:
                return f"line {number} holds byte 0x{line[e.start]:02x} (Latin-1?)"
    return "a line of it ends within a character"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Context in which ``path`` is written: a disk error becomes one line that names the path and what to do.

    Libraries report a full disk in their own ways (numpy without a number, safetensors as no OSError at all).

    Raises:
        NotWritten: the disk is full or broken.
    """
    try:
        yield
    except NotWritten:
        raise
    except Exception as e:
        number = e.errno if isinstance(e, OSError) else None
        mentioned = [n for n in _DISK if os.strerror(n) in str(e)]
        if number not in _DISK and not mentioned and not (type(e) is OSError and number is None):
            raise
        reason = os.strerror(number) if number else os.strerror(mentioned[0]) if mentioned else str(e)
        room = "" if not {number, *mentioned} & set(_FULL) else "Make room on its disk. "
        raise NotWritten(
            f"{path} could not be written: {reason}. {room}The same command again goes on from what is there."
        ) from e


def _take_place(building: Path, folder: Path, replaced: Path) -> None:
    moved = folder.exists()
    if moved:
        folder.rename(replaced)
    try:
        building.rename(folder)
    except BaseException:
        if moved:
            replaced.rename(folder)
        raise


def _temporary(beginning: str, path: Path) -> str:
    """Return a name beside ``path`` that no process on any machine or in any container takes."""
    return f"{beginning}{os.getpid()}.{os.urandom(4).hex()}-{path.name}"
