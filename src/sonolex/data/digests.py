"""Short digests of clips: of their columns, and of the audio that a manifest refers to.

Two tables of clips with the same digests give the same training and the same scores. How Arrow cuts a column into
pieces, or where a file lies, does not change a digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from sonolex.audio.shards import in_shard
from sonolex.data.columns import floats
from sonolex.data.manifest import Manifest

pc: Any = pyarrow.compute  # its functions are created at import, where type checkers do not see them

DIGEST_BYTES = 16


def column_digest(column: pa.ChunkedArray) -> str:
    """Return 32 hexadecimal digits of a column's values, missing ones included."""
    kind = column.type
    parts = [hashlib.blake2b(digest_size=DIGEST_BYTES) for _ in range(3)]
    missing, lengths, content = parts
    for chunk in column.chunks:
        missing.update(np.array(pc.is_null(chunk).to_pylist(), np.uint8).tobytes())
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        for chunk in column.chunks:
            filled = pc.fill_null(chunk, b"" if pa.types.is_binary(kind) else "")
            offsets = np.frombuffer(filled.buffers()[1], np.int32)[filled.offset : filled.offset + len(filled) + 1]
            lengths.update(np.diff(offsets).tobytes())
            if filled.buffers()[2] is not None and len(filled):
                content.update(memoryview(filled.buffers()[2])[int(offsets[0]) : int(offsets[-1])])
    elif pa.types.is_floating(kind):
        content.update(floats(column).tobytes())
    else:  # whole numbers, yes and no
        for chunk in column.chunks:
            content.update(np.array(pc.fill_null(chunk.cast(pa.int64()), 0).to_pylist(), np.int64).tobytes())
    whole = hashlib.blake2b(str(kind).encode(), digest_size=DIGEST_BYTES)
    for part in parts:
        whole.update(part.digest())
    return whole.hexdigest()


def audio_marks(manifest: Manifest, *, places: bool) -> list[str]:
    """Return a mark for every clip that tells its audio from other audio, without decoding any.

    It is the ``audio_digest`` where the manifest has one, else the embedded bytes, else the size of the file; with
    ``places`` also the file's path and the time of its last change.
    """
    digests = manifest.column("audio_digest")
    embedded = "audio_bytes" in manifest.table.column_names
    addresses = manifest.column("audio")
    marks, known = [], {}
    for row, digest in enumerate(digests):
        content = manifest.table["audio_bytes"][row] if embedded else None
        if digest is not None:
            marks.append(digest)
        elif content is not None and content.is_valid:
            marks.append(hashlib.blake2b(content.as_buffer(), digest_size=DIGEST_BYTES).hexdigest())
        else:
            address = addresses[row]
            if address not in known:
                known[address] = _mark_of_file(address, manifest.root, places=places)
            marks.append(known[address])
    return marks


def clips_digests(manifest: Manifest, columns: Iterable[str], *, places: bool) -> dict[str, str]:
    """Return the digests of some columns, of those that the manifest has, and of its audio (`audio_marks`)."""
    names = [n for n in dict.fromkeys(columns) if n in manifest.table.column_names]
    digests = {name: column_digest(manifest.table[name]) for name in names}
    marks = audio_marks(manifest, places=places)
    return digests | {"audio": column_digest(pa.chunked_array([pa.array(marks, pa.string())]))}


def _mark_of_file(address: str | None, root: Path, *, places: bool) -> str:
    if address is None:
        return "none"
    file, _, row = address.rpartition("#") if in_shard(address) else (address, "", "")
    if "://" in file:
        return address
    try:
        status = (root / file).stat()
    except OSError:
        return "missing"
    mark = f"{status.st_size} bytes, row {row}"
    return f"{mark}, {(root / file).resolve()}, {status.st_mtime_ns}" if places else mark
