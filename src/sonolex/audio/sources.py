"""Open what an audio source names: a regular file, bytes, a file object, a row of a shard, or a served address.

Limits are checked before reading: a pipe, a device or a socket is refused before it is opened, a file on disk is never
read whole, and everything that has to be held in memory is read up to `MOST_HELD_BYTES`.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sonolex.audio import addresses
from sonolex.audio.errors import AudioError, Where
from sonolex.audio.shards import in_shard, shard_bytes

# Bytes, file objects, shards and addresses are held in memory: one hour of 48 kHz stereo float WAV is 1.4 GB.
MOST_HELD_BYTES = 2 << 30
HEAD_BYTES = 4 << 10  # read at once: nearly every header ends there
SMALL_BYTES = 64 << 10  # files up to here are read at once
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class HeldBytes:
    """An encoded file in memory."""

    identity = None

    def __init__(self, encoded: bytes):
        self.encoded, self.size = encoded, len(encoded)

    def at(self, start: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``start``."""
        return self.encoded[start : start + count]

    def view(self, start: int, count: int) -> memoryview:
        """Return the same bytes without a copy."""
        return memoryview(self.encoded)[start : start + count]

    def for_decoder(self) -> BinaryIO | int:
        return io.BytesIO(self.encoded)

    def changed(self) -> bool:
        return False

    def close(self) -> None:
        pass


class FileIdentity(NamedTuple):
    """One version of a file: another file, or the same one after a change, has another identity."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class OpenFile:
    """An open regular file on disk: renaming or replacing it meanwhile has no effect."""

    def __init__(self, descriptor: int, status: os.stat_result):
        self.descriptor, self.size = descriptor, status.st_size
        self.identity = FileIdentity.of(status)
        self.head = self._read(0, HEAD_BYTES if self.size > SMALL_BYTES else SMALL_BYTES)

    def at(self, start: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``start``; fewer only where the file ends."""
        if start + count <= len(self.head):
            return self.head[start : start + count]
        return self._read(start, count)

    view = at

    def _read(self, start: int, count: int) -> bytes:
        if start >= self.size:  # a header may point beyond the largest offset of the system
            return b""
        os.lseek(self.descriptor, start, os.SEEK_SET)
        piece = os.read(self.descriptor, count)
        if len(piece) in (count, 0) or start + len(piece) >= self.size:
            return piece
        pieces = [piece]  # one read returns 2 GiB at most, and less on some file systems
        while (count := count - len(pieces[-1])) > 0 and (piece := os.read(self.descriptor, count)):
            pieces.append(piece)
        return b"".join(pieces)

    def for_decoder(self) -> BinaryIO | int:
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return self.descriptor

    def changed(self) -> bool:
        """True if the file was written to since it was opened."""
        return FileIdentity.of(os.fstat(self.descriptor)) != self.identity

    def close(self) -> None:
        os.close(self.descriptor)


Encoded = HeldBytes | OpenFile


class BoundedReader:
    """An encoded file for a decoder that searches for a position: it ends after ``most_bytes`` have been read.

    libFLAC searches for its next frame to the end of a file, even through 40 GB of zeros.
    """

    def __init__(self, encoded: Encoded, most_bytes: int):
        self.encoded, self.bytes_left, self.position = encoded, most_bytes, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.encoded.size}[whence]
        self.position = max(0, base + offset)
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer) -> int:
        piece = self.encoded.at(self.position, min(len(buffer), self.bytes_left))
        buffer[: len(piece)] = piece
        self.position += len(piece)
        self.bytes_left -= len(piece)
        return len(piece)


def open_encoded(source: str | Path | bytes | BinaryIO, where: Where) -> Encoded:
    """Return the encoded file behind a source; the caller closes it.

    Raises:
        AudioError: missing, empty, too large to hold, no regular file, an address that is not served.
    """
    try:
        if isinstance(source, bytes):
            encoded = HeldBytes(source)
        elif isinstance(source, str | Path):
            encoded = _opened(str(source), where)
        elif isinstance(source, bytearray | memoryview):
            encoded = HeldBytes(bytes(source))
        else:
            encoded = HeldBytes(_bytes_of(source, where))
    except AudioError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise where.error(
            "audio must exist, but is missing", "audio", f"Correct the path{_searched_folder(source)}."
        ) from None
    except (OSError, ValueError, KeyError) as e:  # NUL in a path, no permission, a foreign Parquet
        raise where.error(f"audio cannot be read: {e}", "audio", "Check path and permissions.") from None
    if encoded.size == 0:
        encoded.close()
        raise where.error("audio must hold samples, but the file is empty", "audio", "Remove or replace the file.")
    if isinstance(encoded, HeldBytes) and encoded.size > MOST_HELD_BYTES:
        raise too_large(where)
    return encoded


def _searched_folder(source: object) -> str:
    """Return a note on the folder in which a relative path was looked for, empty for other sources."""
    relative = isinstance(source, str | Path) and "://" not in str(source) and not os.path.isabs(source)  # noqa: PTH117
    return f"; it was looked for in {os.getcwd()}" if relative else ""  # noqa: PTH109


def held(encoded: Encoded, where: Where) -> bytes:
    """Return an encoded file's bytes. Raises AudioError if they are more than `MOST_HELD_BYTES`."""
    if isinstance(encoded, HeldBytes):
        return encoded.encoded
    if encoded.size > MOST_HELD_BYTES:
        raise too_large(where)
    return encoded.at(0, encoded.size)


def too_large(where: Where) -> AudioError:
    return where.error(
        f"audio that is held in memory must have at most {MOST_HELD_BYTES:,} bytes, but has more",
        "audio",
        "Name a file on the local disk, or cut the recording into clips.",
    )


def _opened(path: str, where: Where) -> Encoded:
    if in_shard(path):
        return HeldBytes(shard_bytes(path, where))
    if "://" in path:
        local = addresses.local_path(path, where)
        if local is None:
            return HeldBytes(addresses.remote_bytes(path, MOST_HELD_BYTES, where))
        path = local
    # before opening: a pipe waits for a writer, a device may do anything; Path(path).stat() would take 5 µs more a file
    require_regular(os.stat(path), where)  # noqa: PTH116
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        require_regular(status, where)  # it may have been replaced in between
        return OpenFile(descriptor, status)
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(status: os.stat_result, where: Where) -> None:
    """Raise AudioError unless a path names a regular file; links are followed."""
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "none")
        raise where.error(f"audio must be a regular file, but is {kind}", "audio", "Name the file itself.")


def _bytes_of(file: BinaryIO, where: Where) -> bytes:
    """Read a binary file object to its end, within the limit."""
    if not hasattr(file, "read"):
        raise where.error(
            f"audio must be a path, bytes, a binary file object or (array, rate), but is {type(file).__name__}",
            "audio",
            "Pass one of those.",
        )
    pieces, bytes_left = [], MOST_HELD_BYTES + 1
    while bytes_left > 0 and (piece := file.read(bytes_left)):  # a pipe may return fewer bytes than requested
        if not isinstance(piece, bytes):
            raise where.error("audio must be a binary file object", "audio", "Open the file with mode 'rb'.")
        pieces.append(piece)
        bytes_left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
