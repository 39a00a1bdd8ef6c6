"""A million vectors searched from disk: the index `sonolex search` opens, against numpy over all of them in memory.

    python -m benchmarks search

Vectors are of 128 dimensions around ten thousand centres, as recordings of a few thousand words would be. Building
takes minutes, so it runs only when named.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from benchmarks._timing import claim
from sonolex.search import CARD, PATHS, VECTORS, SoundIndex

ONLY_WHEN_NAMED = True
COUNT, DIM, CENTRES, QUERIES, TOP = 1_000_000, 128, 10_000, 200, 10
AT_ONCE = 50_000


def run() -> None:
    """Build, open and search; print time, memory and how many of the true ten nearest are found."""
    from usearch.index import Index

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CENTRES, DIM)).astype(np.float32)

    def made(number: int) -> np.ndarray:
        near = centres[rng.integers(CENTRES, size=number)]
        vectors = near + 0.5 * rng.normal(size=(number, DIM)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    with tempfile.TemporaryDirectory() as place:
        folder, started = Path(place), time.perf_counter()
        everything = np.empty((COUNT, DIM), np.float32)
        index = Index(ndim=DIM, metric="cos", dtype="f16")
        for start in range(0, COUNT, AT_ONCE):
            part = made(AT_ONCE)
            everything[start : start + AT_ONCE] = part
            index.add(np.arange(start, start + AT_ONCE), part)
        index.save(folder / VECTORS)
        paths = pa.table({"path": [f"{i}.wav" for i in range(COUNT)]})
        with pa.OSFile(str(folder / PATHS), "wb") as sink, pa.ipc.new_file(sink, paths.schema) as writer:
            writer.write_table(paths)
        (folder / CARD).write_text(json.dumps({"model": "none"}), encoding="utf-8")
        print(f"built in {time.perf_counter() - started:.0f} s, {(folder / VECTORS).stat().st_size / 1e6:.0f} MB")
        del index, paths
        queries = made(QUERIES)
        before = psutil.Process().memory_info()
        opened = SoundIndex.open(folder)
        found, ours = _timed(lambda q: [int(h.path[:-4]) for h in opened.nearest(q, top=TOP)], queries)
        after = psutil.Process().memory_info()
        mapped = after.shared - before.shared  # pages of the file, which the system takes back when it needs them
        own = after.rss - before.rss - mapped
        print(f"opened and searched with {own / 1e6:.0f} MB of its own and {mapped / 1e6:.0f} MB of the mapped file")
        truth, theirs = _timed(lambda q: np.argpartition(-(everything @ q), TOP)[:TOP].tolist(), queries[:20])
        recall = np.mean([len(set(f) & set(t)) / TOP for f, t in zip(found, truth, strict=False)])
        print(f"{1000 * ours:.2f} ms a query; {recall:.2f} of the true ten nearest found")
        claim("search in a million vectors, over numpy over all of them", theirs / ours, 10)


def _timed(function: object, queries: np.ndarray) -> tuple[list[list[int]], float]:
    started = time.perf_counter()
    found = [function(q) for q in queries]  # type: ignore[operator]
    return found, (time.perf_counter() - started) / len(queries)
