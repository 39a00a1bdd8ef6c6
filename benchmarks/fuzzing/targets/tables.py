"""Tables as users bring them, CSV, TSV and JSON lines, and Parquet and Arrow files, checked as `sonolex fit` does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations, structured
from benchmarks.fuzzing.cases import Mutation
from benchmarks.fuzzing.targets import _material

SUFFIXES = ("csv", "tsv", "jsonl", "parquet", "arrow")
LABEL = "pitch"


def warm() -> None:
    import pyarrow.dataset
    import pyarrow.fs  # noqa: F401
    import soundfile  # noqa: F401

    import sonolex.doors.fit  # noqa: F401

    _material.one_thread()


def make(folder: Path) -> None:
    for suffix in SUFFIXES:
        names = _material.write_waves(folder / suffix, 3)
        _material.write_table(folder / suffix / f"table.{suffix}", names)
    names = _material.write_waves(folder / "shards", 3)
    _write_shards(folder / "shards", names)


def mutate(folder: Path, rng: random.Random) -> Mutation:
    table = next(folder.glob("table.*"))
    if (folder / "shard-00000.parquet").is_file():
        return mutations.change_bytes(folder / "shard-00000.parquet", rng, header=_end(folder / "shard-00000.parquet"))
    if rng.random() < 0.05:
        return mutations.change_bytes(folder / "clip00.wav", rng)
    if table.suffix in (".parquet", ".arrow") and rng.random() < 0.3:
        return odd_columns(table, rng)
    if table.suffix in (".parquet", ".arrow"):
        found = mutations.change_bytes(table, rng, header=rng.choice(((0, 1500), _end(table))))
        return found
    if rng.random() < 0.2:
        found = mutations.change_bytes(table, rng)
        return Mutation(found.what)  # text that ends early does not show it
    return (structured.change_json if table.suffix == ".jsonl" else structured.change_csv)(table, rng)


def use(folder: Path, out: Path) -> Any:
    from sonolex.data.manifest import read_manifest
    from sonolex.data.parts import divide
    from sonolex.doors.fit.table import checked_table
    from sonolex.doors.fit.tasks import guess_task
    from sonolex.labels import class_name

    path = next(folder.glob("table.*"))
    checked = checked_table(path, label=LABEL, skip_bad=False, longest_s=60.0, reader="ctal")
    kind, task, _ = guess_task(checked.manifest, LABEL)
    classes = [class_name(v) for v in checked.manifest.column(LABEL)] if kind == "classification" else None
    manifest = divide(checked.manifest, strata=classes, seed=0).manifest
    for suffix in SUFFIXES:
        read_manifest(manifest.write(out / f"again.{suffix}"))
    clips = list(manifest)
    lengths = [len(c.samples(_material.RATE_HZ)) for c in clips if c.audio is not None]
    return {"ids": [c.id for c in clips], "task": task, "split": manifest.column("split"), "lengths": lengths}


def odd_columns(path: Path, rng: random.Random) -> Mutation:
    """Write the table again with one column of an odd type, odd values or an odd name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    read = pa.ipc.open_file(path).read_all if path.suffix == ".arrow" else lambda: pq.read_table(path)
    table = read()
    count, chosen = len(table), rng.choice(table.column_names)
    texts = pa.array([f"value{i % 3}" for i in range(count)])
    odd = {
        "integers": lambda: pa.array(range(count)),
        "structs": lambda: pa.array([{"path": "clip00.wav", "bytes": None}] * count),
        "lists": lambda: pa.array([["a", "b"]] * count),
        "dictionary": lambda: texts.dictionary_encode(),
        "nested dictionary": lambda: pa.StructArray.from_arrays([texts.dictionary_encode()], ["x"]),
        "binary": lambda: pa.array([b"\xff\xfe"] * count),
        "large text": lambda: texts.cast(pa.large_string()),
        "dates": lambda: pa.array([2**40] * count, pa.timestamp("us")),
        "decimals": lambda: pa.array([1] * count).cast(pa.decimal128(38, 10)),
        "nulls": lambda: pa.nulls(count),
        "not numbers": lambda: pa.array([float("nan")] * count),
        "infinite": lambda: pa.array([float("inf"), *[1.0] * (count - 1)]),
        "one null": lambda: pa.array([None, *[f"v{i % 2}" for i in range(count - 1)]]),
        "all the same": lambda: pa.array(["same"] * count),
        "booleans": lambda: pa.array([True, False] * (count // 2)),
        "odd strings": lambda: pa.array([structured.STRINGS[i % 40].replace("\ud800", "") for i in range(count)]),
        "halves": lambda: pa.array([0.5] * count, pa.float16()),
        "maps": lambda: pa.array([[("k", 1)]] * count, pa.map_(pa.string(), pa.int64())),
    }
    way = rng.choice(sorted(odd))
    table = table.set_column(table.column_names.index(chosen), chosen, odd[way]())
    if rng.random() < 0.2:
        table = pa.concat_tables([table] * rng.choice((2, 1000)))
    if path.suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, path)
    return Mutation(f"{path.name}: {chosen} is {way}, {len(table)} rows")


def _write_shards(folder: Path, names: list[str]) -> None:
    """Write recordings embedded in a Parquet shard, and a table of their addresses."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    encoded = [(folder / n).read_bytes() for n in names]
    pq.write_table(pa.table({"audio": encoded}), folder / "shard-00000.parquet", row_group_size=2)
    _material.write_table(folder / "table.csv", [f"shard-00000.parquet#{i}" for i in range(len(names))])


def _end(file: Path) -> tuple[int, int]:
    size = file.stat().st_size
    return max(0, size - 1500), size
