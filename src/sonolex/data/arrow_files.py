"""Arrow and Parquet files: written whole with checksums, and checked to the last byte before anything reads them.

Arrow trusts the offsets in a file, so a damaged one crashes the process instead of raising an error. Files are opened
only through here: the checksum is compared, if there is one; files that would unpack beyond bounds are refused; and
every offset and every text is validated (Arrow's full validation). Afterwards the columns are safe to use.

``.arrow`` files hold the checksum between the last message and the footer, where readers of Arrow files do not look:
8 bytes ``SONOLEX1`` and the CRC-32 of all other bytes in 8 hexadecimal digits. Files without one are read as well.
"""

from __future__ import annotations

import mmap
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from sonolex.files import atomic_file

pc: Any = pyarrow.compute  # its functions are created at import, where type checkers do not see them
MAGIC = b"ARROW1"  # ends every Arrow file, after the footer and its length
TAG = b"SONOLEX1"
CRC_DIGITS = 8
ROWS_PER_BATCH = 1 << 16
MAPPED_FROM_BYTES = 32 << 20  # smaller files are read, so that overwriting one in place cannot take its bytes away
CHUNK_BYTES = 1 << 24
MOST_COLUMNS = 10_000
MOST_UNPACKED_BYTES = 8 << 30  # of one table in memory
TOO_LARGE = f"it unpacks to more than {MOST_UNPACKED_BYTES >> 30} GiB. Divide it into several files"
MOST_BATCH_BYTES = 256 << 20  # what one read of a Parquet file may unpack to before it is counted


def write_arrow(table: pa.Table, path: Path) -> None:
    """Write an Arrow file with its checksum, whole or not at all."""
    with atomic_file(path) as building:
        with pa.OSFile(str(building), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=ROWS_PER_BATCH)
        _add_checksum(building)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a Parquet file with a checksum of every page, whole or not at all."""
    with atomic_file(path) as building:
        pq.write_table(table, building, write_page_checksum=True)


def open_arrow(path: Path) -> pa.Table:
    """Return the table in an Arrow file, memory-mapped if it is large, after checking all of it.

    Only a file with a checksum keeps its schema's metadata, because only it is known to be as it was written.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no regular file, no Arrow file, or a damaged, compressed or contradictory one, in one line.
    """
    size = regular_size(path)
    try:
        with path.open("rb") as file:
            content = file.read() if size < MAPPED_FROM_BYTES else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        known = _checksum_holds(content)
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(content)))
        require_few_columns(reader.schema)
        if _is_compressed(content):
            raise ValueError("it is compressed. Only .parquet may be; .arrow is mapped as it is")
        table = reader.read_all()
        table.validate(full=True)
        if table.num_rows > 8 * size or _bytes_of(table) > size:  # honest columns share no bytes and have a bit a row
            raise ValueError(f"{size:,} bytes cannot hold its {table.num_rows:,} rows")
    except (pa.ArrowException, OSError, ValueError, struct.error) as e:
        raise _unreadable(path, e) from None
    if isinstance(content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED)  # the checks touched every page; only those in use need memory
    return table if known else table.replace_schema_metadata(None)


def open_parquet(path: Path) -> pa.Table:
    """Return the table in a Parquet file, dictionaries decoded, after checking its unpacked size and its contents.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no regular file, no Parquet file, or a damaged or too large one, in one line.
    """
    regular_size(path)
    try:
        with pq.ParquetFile(path) as file:
            require_few_columns(file.schema_arrow)
            texts, rows = _text_columns(file), _rows_at_once(file)
        options = {"read_dictionary": texts, "page_checksum_verification": True}
        with pq.ParquetFile(path, **options) as file:
            batches = list(_decoded_batches(file.iter_batches(rows, use_threads=False)))
            table = pa.Table.from_batches(batches) if batches else file.schema_arrow.empty_table()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as e:
        raise _unreadable(path, e) from None
    return table


def decoded(column: pa.ChunkedArray, *, room: int = MOST_UNPACKED_BYTES) -> pa.ChunkedArray:
    """Return a dictionary column with its values decoded, any other column unchanged.

    Raises:
        ValueError: they would take more than ``room`` bytes.
    """
    if not pa.types.is_dictionary(column.type):
        return column
    needed = sum(_decoded_bytes(chunk) for chunk in column.chunks)
    if needed > room:
        raise ValueError(TOO_LARGE)
    return column.cast(column.type.value_type)


def require_few_columns(schema: pa.Schema) -> None:
    """Raise ValueError for more columns than a table of clips has, or for two of one name."""
    if len(schema.names) > MOST_COLUMNS:
        raise ValueError(f"it must have at most {MOST_COLUMNS:,} columns, but has {len(schema.names):,}")
    twice = [repr(name) for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise ValueError(f"it must have each column once, but has {', '.join(twice[:5])} twice")


def regular_size(path: Path) -> int:
    """Return a regular file's bytes. Raises FileNotFoundError, and ValueError for a folder, a pipe or a device."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} must be a regular file, but is not.")
    return status.st_size


def _unreadable(path: Path, problem: Exception) -> ValueError:
    words = " ".join(str(problem).split()).rstrip(".")
    return ValueError(f"{path} cannot be read as {path.suffix[1:] or 'arrow'}: {words}. Write or copy it again.")


def _footer_start(content: bytes | mmap.mmap) -> int:
    """Return where the footer of an Arrow file begins. Raises ValueError if there is none."""
    end = len(content) - len(MAGIC) - 4
    if end < len(MAGIC) or content[-len(MAGIC) :] != MAGIC:
        raise ValueError("it is no Arrow file, or the end is missing")
    start = end - struct.unpack_from("<i", content, end)[0]
    if not len(MAGIC) <= start <= end:
        raise ValueError("its footer is damaged")
    return start


def _crc(content: bytes | mmap.mmap, place: int) -> bytes:
    """Return the CRC-32 of all bytes but the digits at ``place``, as digits."""
    crc = 0
    with memoryview(content) as view:
        for begin, end in ((0, place), (place + CRC_DIGITS, len(view))):
            for start in range(begin, end, CHUNK_BYTES):
                crc = zlib.crc32(view[start : min(start + CHUNK_BYTES, end)], crc)
    return b"%08x" % crc


def _add_checksum(path: Path) -> None:
    """Put tag and checksum in front of the footer of a finished Arrow file."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = _footer_start(content)
        footer = content[start:]
        file.seek(start)
        file.write(TAG + b"0" * CRC_DIGITS + footer)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        place = start + len(TAG)
        content[place : place + CRC_DIGITS] = _crc(content, place)


def _checksum_holds(content: bytes | mmap.mmap) -> bool:
    """Return whether an Arrow file has a checksum of ours. Raises ValueError if it is not that of its bytes."""
    place = _footer_start(content) - CRC_DIGITS
    if content[place - len(TAG) : place] != TAG:
        return False
    if content[place : place + CRC_DIGITS] != _crc(content, place):
        raise ValueError("its checksum is wrong, so bytes of it were changed or lost")
    return True


def _is_compressed(content: bytes | mmap.mmap) -> bool:
    """Return whether any message of an Arrow file is compressed, without unpacking it (Arrow's File.fbs, Message.fbs).

    A footer lists blocks of dictionaries (field 2) and of rows (field 3); each begins with a message, whose header
    (field 2) is a record batch, or a dictionary batch with one in field 1; a record batch's field 3 is its compression.
    """
    footer = content[_footer_start(content) : -len(MAGIC) - 4]
    root = _unsigned(footer, 0)
    for kind in (2, 3):
        place = _field(footer, root, kind)
        if place is None:
            continue
        blocks = place + _unsigned(footer, place)
        for number in range(_unsigned(footer, blocks)):
            offset = struct.unpack_from("<q", footer, blocks + 4 + 24 * number)[0]
            if not 0 <= offset < len(content) - 8:
                raise ValueError("its footer is damaged")
            message = offset + (8 if content[offset : offset + 4] == b"\xff" * 4 else 4)
            header = _child(content, message + _unsigned(content, message), 2)
            batch = _child(content, header, 1) if kind == 2 else header
            if _field(content, batch, 3) is not None:
                return True
    return False


def _bytes_of(table: pa.Table) -> int:
    """Return the bytes that the columns refer to, each dictionary once."""
    total = 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type) and column.num_chunks:
            total += sum(c.indices.nbytes for c in column.chunks) + max(c.dictionary.nbytes for c in column.chunks)
        else:
            total += column.nbytes
    return total


def _unsigned(content: bytes | mmap.mmap, place: int) -> int:
    return struct.unpack_from("<I", content, place)[0]


def _field(content: bytes | mmap.mmap, table: int, number: int) -> int | None:
    """Return where field ``number`` of a flatbuffer's table begins, None if it is left out."""
    layout = table - struct.unpack_from("<i", content, table)[0]
    if layout < 0:
        raise ValueError("its messages are damaged")
    length = struct.unpack_from("<H", content, layout)[0]
    entry = 4 + 2 * number
    offset = struct.unpack_from("<H", content, layout + entry)[0] if entry + 2 <= length else 0
    return table + offset if offset else None


def _child(content: bytes | mmap.mmap, table: int, number: int) -> int:
    """Return where the table in field ``number`` of a flatbuffer's table begins."""
    place = _field(content, table, number)
    if place is None:
        raise ValueError("its messages are damaged")
    return place + _unsigned(content, place)


def _text_columns(file: pq.ParquetFile) -> list[str]:
    """Return the columns of texts, which are read as dictionaries: a repeated text then costs no memory."""
    columns = [file.schema.column(i) for i in range(len(file.schema))]
    return [c.path for c in columns if c.path == c.name and str(c.logical_type) == "String"]


def _rows_at_once(file: pq.ParquetFile) -> int:
    """Return how many rows may be read before they are counted; few where one value can take a whole row group.

    Only totals are read: damaged metadata of a single chunk ends the process (pyarrow 26).

    Raises:
        ValueError: the file announces more than a table may take in memory.
    """
    groups = [file.metadata.row_group(g).total_byte_size for g in range(file.metadata.num_row_groups)]
    cells = file.metadata.num_rows * len(file.schema)
    if max(sum(groups), 8 * cells) > MOST_UNPACKED_BYTES:
        raise ValueError(TOO_LARGE)
    columns = [file.schema.column(i) for i in range(len(file.schema))]
    texts = set(_text_columns(file))
    if all(c.path in texts or (c.path == c.name and c.physical_type != "BYTE_ARRAY") for c in columns):
        return ROWS_PER_BATCH
    return min(ROWS_PER_BATCH, max(1, MOST_BATCH_BYTES // max(1, *groups, 1)))


def _decoded_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches without dictionaries. Raises ValueError once they take more memory than a table may."""
    room = MOST_UNPACKED_BYTES
    for batch in batches:
        columns = []
        for column in batch.columns:
            values = decoded(pa.chunked_array([column]), room=room).combine_chunks()
            room -= values.nbytes
            columns.append(values)
        if room < 0:
            raise ValueError(TOO_LARGE)
        yield pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _decoded_bytes(chunk: pa.DictionaryArray) -> int:
    kind = chunk.type.value_type
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
        lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
        return pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return 8 * len(chunk)
