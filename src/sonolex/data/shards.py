"""Parquet shards with embedded audio: the same format from ten clips to ten million hours.

A sharded corpus is a folder of ``shard-00000.parquet`` … whose column ``audio`` holds the encoded files, and a plain
``manifest.arrow`` whose audio addresses are ``shard-00000.parquet#12``. Everything that reads a manifest reads it, from
local disk or an address you allowed (sonolex.audio.addresses). Row groups are small and stay in memory after a read,
so nearby clips cost one request.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sonolex.audio.io import read_encoded
from sonolex.data.manifest import Manifest, read_manifest
from sonolex.files import atomic_file

CLIPS_PER_GROUP = 32


def write_shards(manifest: Manifest, folder: str | Path, *, clips_per_shard: int = 4096) -> Manifest:
    """Write every clip's encoded file and the manifest into ``folder``; return the sharded manifest.

    Clips of a sharded corpus that are excerpts keep their offset; files shared by several excerpts are stored once
    per clip, so cut long recordings first.

    Raises:
        AudioError: a file cannot be read.
        ValueError: ``clips_per_shard`` is not positive.
    """
    if clips_per_shard < 1:
        raise ValueError(f"`clips_per_shard` must be at least 1, but is {clips_per_shard}.")
    folder = Path(folder)
    addresses: list[str | None] = []
    for start in range(0, len(manifest), clips_per_shard):
        name = f"shard-{start // clips_per_shard:05d}.parquet"
        encoded = []
        for row in range(start, min(start + clips_per_shard, len(manifest))):
            clip = manifest[row]
            encoded.append(None if clip.audio is None else read_encoded(clip.audio, clip_id=clip.id))
            addresses.append(None if clip.audio is None else f"{name}#{row - start}")
        ids = manifest.table["id"].slice(start, len(encoded))
        with atomic_file(folder / name) as building:
            pq.write_table(
                pa.table({"id": ids, "audio": pa.array(encoded, pa.binary())}),
                building,
                row_group_size=CLIPS_PER_GROUP,
                compression="none",  # audio is compressed already
            )
    table = manifest.with_column("audio", addresses).table
    if "audio_bytes" in table.column_names:
        table = table.drop_columns(["audio_bytes"])
    return read_manifest(Manifest(table, root=folder).write(folder / "manifest.arrow"))
