"""Encoded files out of Parquet shards, on disk or at an address the user allowed (see sonolex.data.shards)."""

from __future__ import annotations

import stat
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from sonolex.audio import addresses
from sonolex.audio.errors import Where

MOST_GROUP_BYTES = 2 << 30  # of one row group's audio: our own hold 32 clips, a few MB
MOST_OPEN = 64  # shards open at once
MOST_KEPT_BYTES = 512 << 20  # of row groups kept in memory for the next clip


def in_shard(path: str) -> bool:
    """Return whether a path is like ``shard-00003.parquet#17``: row 17 of a Parquet shard (sonolex.data.shards)."""
    file, _, row = path.rpartition("#")
    return file.endswith(".parquet") and row.isdecimal() and row.isascii()


def shard_bytes(path: str, where: Where) -> bytes:
    """Return the encoded file at a shard address; its row group stays in memory for the next one.

    Raises:
        AudioError: no such row, no audio in it, row groups too large to hold, an address that is not served.
        OSError, ValueError, KeyError: no such file, or no Parquet with a column ``audio``.
    """
    file, _, row = path.rpartition("#")
    shard = _Shard.named(file, where)
    with _SHARD_LOCK:
        _, starts = shard.opened(where)
        if len(row) > 18 or int(row) >= starts[-1]:
            raise where.error(
                f"shard must have row {row}, but has {starts[-1]} rows", "audio", "Write the shards again."
            )
        group = int(np.searchsorted(starts, int(row), side="right")) - 1
        encoded = shard.group(group, where)[int(row) - int(starts[group])].as_py()
    if encoded is None:
        raise where.error(f"row {row} of the shard must hold audio, but is empty", "audio", "Write the shards again.")
    if not isinstance(encoded, bytes):
        raise where.error(
            f"row {row} of the shard must hold an encoded file, but holds {type(encoded).__name__}",
            "audio",
            "Write the shards again (sonolex.data.shards.write_shards).",
        )
    return encoded


_SHARD_LOCK = Lock()
_OPEN: OrderedDict[_Shard, Any] = OrderedDict()  # Parquet files, the one used last at the end
_KEPT: OrderedDict[tuple[_Shard, int], Any] = OrderedDict()  # row groups, likewise


@dataclass(frozen=True)
class _Shard:
    """One version of a shard: a file that is written again is another one."""

    file: str
    version: tuple[int, ...]  # device, inode, size, time of the last change; () at a remote address

    @classmethod
    def named(cls, file: str, where: Where) -> _Shard:
        if addresses.is_remote(file, where):
            addresses.require_allowed(file, where)
            return cls(file, ())
        if "://" in file:
            file = addresses.local_path(file, where) or file
        status = Path(file).stat()
        if not stat.S_ISREG(status.st_mode):
            raise where.error("a shard must be a regular file, but is not", "audio", "Name the Parquet file itself.")
        return cls(file, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))

    def opened(self, where: Where) -> tuple[Any, np.ndarray]:
        """Return the open Parquet file, and the row its groups begin at, and the number of rows."""
        if self not in _OPEN:
            import pyarrow.parquet as pq

            source = self.file if self.version else addresses.open_remote(self.file, where)
            try:  # as a dictionary, a value that a million rows share stays one value in memory
                shard = pq.ParquetFile(source, read_dictionary=["audio"])
            except KeyError:
                raise where.error(
                    "shard must have a column 'audio' of encoded files, but has none",
                    "audio",
                    "Write the shards again (sonolex.data.shards.write_shards).",
                ) from None
            groups = [shard.metadata.row_group(g).num_rows for g in range(shard.num_row_groups)]
            _OPEN[self] = (shard, np.cumsum([0, *groups]))
            if len(_OPEN) > MOST_OPEN:
                _OPEN.popitem(last=False)
        _OPEN.move_to_end(self)
        return _OPEN[self]

    def group(self, number: int, where: Where):
        """Return the audio of a row group as an Arrow column."""
        key = (self, number)
        if key not in _KEPT:
            shard, _ = self.opened(where)
            column = shard.schema_arrow.names.index("audio")
            size = shard.metadata.row_group(number).column(column).total_uncompressed_size
            if size > MOST_GROUP_BYTES:
                raise where.error(
                    f"a row group of a shard must hold at most {MOST_GROUP_BYTES:,} bytes of audio, but holds {size:,}",
                    "audio",
                    "Write the shards again (sonolex.data.shards.write_shards).",
                )

            def read():
                return shard.read_row_group(number, columns=["audio"])["audio"]

            _KEPT[key] = read() if self.version else addresses.answer(read, where)
            while len(_KEPT) > 1 and sum(kept.nbytes for kept in _KEPT.values()) > MOST_KEPT_BYTES:
                _KEPT.popitem(last=False)
        _KEPT.move_to_end(key)
        return _KEPT[key]
