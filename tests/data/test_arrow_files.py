"""Arrow and Parquet files that are damaged, hostile or foreign: an error in one line, never a crash."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonolex.data import arrow_files
from sonolex.data.arrow_files import TAG, open_arrow, open_parquet, write_arrow, write_parquet

TABLE = pa.table(
    {
        "id": [f"c{i}" for i in range(40)],
        "audio": [f"a/{i}.wav" for i in range(40)],
        "duration_s": np.random.default_rng(0).random(40),
        "text": [None if i % 5 == 0 else f"wörter {i}" * (i % 7) for i in range(40)],
        "mood": pa.array(["a", "b"] * 20).dictionary_encode(),
        "tags": [[i] * (i % 3) for i in range(40)],
        "sound": [{"bytes": b"x" * i, "path": None} for i in range(40)],
        "nothing": pa.nulls(40),
    }
)
OPEN_MUTATED = """
import random, sys
from pathlib import Path
from sonolex.data.arrow_files import open_arrow, open_parquet
from tests.data.test_arrow_files import mutated
path, raw, rng, refused = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes(), random.Random(7), 0
opened = open_arrow if path.suffix == ".arrow" else open_parquet
for number in range(400):
    path.write_bytes(mutated(raw, rng))
    try:
        opened(path).to_pylist()
    except ValueError as e:
        assert "\\n" not in str(e) and path.name in str(e), e
        refused += 1
print(refused)
"""


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """Return a file with bytes changed, numbers replaced, or pieces cut out or put in."""
    content = bytearray(raw)
    place = rng.randrange(len(content) - 8)
    kind = rng.randrange(5)
    if kind == 0:
        for _ in range(rng.randrange(1, 9)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == 1:
        value = rng.choice([0, 1, -1, 2**31 - 1, -(2**31), rng.randrange(2**31)])
        content[place // 4 * 4 : place // 4 * 4 + 4] = value.to_bytes(4, "little", signed=True)
    elif kind == 2:
        content[place : place + 8] = rng.choice([b"\xff" * 8, b"\x7f" * 8, (1 << 40).to_bytes(8, "little")])
    elif kind == 3:
        del content[place : place + rng.choice([1, 8, 64, len(content)])]
    else:
        content[place:place] = rng.randbytes(rng.randrange(1, 64))
    return bytes(content)


def foreign(path, table=TABLE, rows=1_000_000_000, **options):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def test_a_written_table_comes_back_and_other_readers_read_it(tmp_path):
    write_arrow(TABLE, tmp_path / "t.arrow")
    assert TAG in (tmp_path / "t.arrow").read_bytes()
    assert open_arrow(tmp_path / "t.arrow").equals(TABLE)
    assert pa.ipc.open_file(str(tmp_path / "t.arrow")).read_all().equals(TABLE)
    assert open_arrow(foreign(tmp_path / "foreign.arrow", rows=15)).equals(TABLE)
    plain = TABLE.set_column(4, "mood", TABLE["mood"].cast(pa.string()))
    write_parquet(TABLE, tmp_path / "t.parquet")
    assert open_parquet(tmp_path / "t.parquet").to_pylist() == plain.to_pylist()


def test_large_files_are_mapped_and_small_ones_are_not_taken_away(tmp_path, monkeypatch):
    write_arrow(TABLE, tmp_path / "t.arrow")
    small = open_arrow(tmp_path / "t.arrow")
    os.truncate(tmp_path / "t.arrow", 0)  # what `open(path, "w")` by another program does
    assert small.equals(TABLE)
    monkeypatch.setattr(arrow_files, "MAPPED_FROM_BYTES", 0)
    write_arrow(TABLE, tmp_path / "t.arrow")
    large = open_arrow(tmp_path / "t.arrow")
    write_arrow(TABLE.slice(0, 3), tmp_path / "t.arrow")  # a second `fit`: the first one keeps its own
    assert large.equals(TABLE) and len(open_arrow(tmp_path / "t.arrow")) == 3


@pytest.mark.parametrize("name", ["ours.arrow", "foreign.arrow", "ours.parquet", "foreign.parquet"])
def test_mutated_files_are_refused_in_one_line_or_read_but_never_crash(name, tmp_path):
    path = tmp_path / name
    if name == "foreign.arrow":
        foreign(path, rows=15)
    elif name == "foreign.parquet":
        pq.write_table(TABLE, path, row_group_size=15)
    else:
        (write_arrow if name == "ours.arrow" else write_parquet)(TABLE, path)
    done = subprocess.run([sys.executable, "-c", OPEN_MUTATED, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert int(done.stdout) > (390 if name == "ours.arrow" else 200)


def test_one_changed_letter_is_found(tmp_path):
    write_arrow(TABLE, tmp_path / "t.arrow")
    content = (tmp_path / "t.arrow").read_bytes()
    (tmp_path / "t.arrow").write_bytes(content.replace(b"a/7.wav", b"a/8.wav"))
    with pytest.raises(ValueError, match=r"t\.arrow cannot be read as arrow: its checksum is wrong"):
        open_arrow(tmp_path / "t.arrow")


def test_files_that_unpack_beyond_bounds_are_refused_before_they_do(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_files, "MOST_UNPACKED_BYTES", 10_000_000)
    rows = pa.array(np.zeros(200_000, np.int32))
    long = pa.DictionaryArray.from_arrays(rows, pa.array(["x" * 100_000]))  # 20 GB of text in kilobytes
    pq.write_table(pa.table({"id": long}), tmp_path / "t.parquet", store_schema=False)
    assert (tmp_path / "t.parquet").stat().st_size < 200_000
    before = pa.total_allocated_bytes()
    with pytest.raises(ValueError, match="it unpacks to more than"):
        open_parquet(tmp_path / "t.parquet")
    column = open_arrow(foreign(tmp_path / "t.arrow", pa.table({"id": long})))["id"]
    with pytest.raises(ValueError, match="it unpacks to more than"):
        arrow_files.decoded(column, room=10_000_000)
    zeros = pa.table({"id": [bytes(20_000_000)]})
    pq.write_table(zeros, tmp_path / "zeros.parquet", compression="zstd")
    with pytest.raises(ValueError, match="it unpacks to more than"):
        open_parquet(tmp_path / "zeros.parquet")
    assert pa.total_allocated_bytes() - before < 50_000_000


def test_compressed_arrow_files_are_refused_before_they_are_unpacked(tmp_path):
    for codec in ("zstd", "lz4"):
        path = foreign(tmp_path / f"{codec}.arrow", options=pa.ipc.IpcWriteOptions(compression=codec))
        with pytest.raises(ValueError, match=r"it is compressed\. Only \.parquet may be"):
            open_arrow(path)


def test_rows_without_bytes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot hold its"):
        open_arrow(foreign(tmp_path / "t.arrow", pa.table({"id": pa.nulls(10_000_000)})))


def test_folders_pipes_and_too_many_or_repeated_columns_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.arrow")
    for place in (tmp_path, tmp_path / "pipe.arrow"):
        with pytest.raises(ValueError, match="must be a regular file"):
            open_arrow(place)
    with pytest.raises(FileNotFoundError):
        open_parquet(tmp_path / "none.parquet")
    wide = pa.table([pa.array([1])] * 10_001, names=[f"c{i}" for i in range(10_001)])
    with pytest.raises(ValueError, match=r"at most 10,000 columns, but has 10,001"):
        open_arrow(foreign(tmp_path / "wide.arrow", wide))
    with pytest.raises(ValueError, match="'id' twice"):
        open_arrow(foreign(tmp_path / "twice.arrow", pa.table([pa.array([1])] * 2, names=["id", "id"])))
