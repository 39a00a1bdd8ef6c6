"""Encoded files out of Parquet shards, from local disk or any filesystem pyarrow knows (see sonolex.data.shards)."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

import numpy as np

from sonolex.audio.errors import Where


def in_shard(path: str) -> bool:
    """True for an address like ``shard-00003.parquet#17``: row 17 of a Parquet shard (sonolex.data.shards)."""
    file, _, row = path.rpartition("#")
    return file.endswith(".parquet") and row.isdecimal()


def shard_bytes(path: str, where: Where) -> bytes:
    """Return the encoded file at a shard address; its row group stays in memory for the next one.

    Raises:
        AudioError: no such row, or no audio in it.
    """
    file, _, row = path.rpartition("#")
    with _SHARD_LOCK:
        starts = _shard_group_starts(file)
        group = int(np.searchsorted(starts, int(row), side="right")) - 1
        if int(row) >= starts[-1]:
            raise where.error(
                f"shard must have row {row}, but has {starts[-1]} rows", "audio", "Write the shards again."
            )
        encoded = _shard_group(file, group)[int(row) - int(starts[group])].as_py()
    if encoded is None:
        raise where.error(f"row {row} of the shard must hold audio, but is empty", "audio", "Write the shards again.")
    return encoded


_SHARD_LOCK = Lock()


@lru_cache(maxsize=64)
def _open_shard(file: str):
    import pyarrow.parquet as pq
    from pyarrow import fs

    filesystem, inner = fs.FileSystem.from_uri(file) if "://" in file else (fs.LocalFileSystem(), file)
    return pq.ParquetFile(filesystem.open_input_file(inner))


@lru_cache(maxsize=4096)
def _shard_group_starts(file: str) -> np.ndarray:
    shard = _open_shard(file)
    sizes = [shard.metadata.row_group(g).num_rows for g in range(shard.num_row_groups)]
    return np.concatenate([[0], np.cumsum(sizes)])


@lru_cache(maxsize=64)
def _shard_group(file: str, group: int):
    return _open_shard(file).read_row_group(group, columns=["audio"])["audio"]
