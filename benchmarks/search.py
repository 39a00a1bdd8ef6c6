"""A million vectors searched from disk: the index `sonolex search` opens, against numpy over all of them in memory.

    python -m benchmarks search

Vectors are of 128 dimensions around ten thousand centres, as recordings of a few thousand words would be. It writes a
quarter of a gigabyte, so it runs only when named.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from benchmarks._timing import claim
from sonolex.doors.search import SoundIndex
from sonolex.doors.vector_files import VECTORS, Card, GrowingFiles

ONLY_WHEN_NAMED = True
COUNT, DIM, CENTRES, QUERIES, TOP = 1_000_000, 128, 10_000, 50, 10
AT_ONCE = 50_000


def run() -> None:
    """Build, open and search; print time, memory and how many of the true ten nearest are found."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CENTRES, DIM)).astype(np.float32)

    def made(number: int) -> np.ndarray:
        near = centres[rng.integers(CENTRES, size=number)]
        vectors = near + 0.5 * rng.normal(size=(number, DIM)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        everything = np.concatenate([made(AT_ONCE) for _ in range(COUNT // AT_ONCE)])
        started = time.perf_counter()
        index = GrowingFiles(folder, Card(model="none", weights="none", dim=DIM))
        for start in range(0, COUNT, AT_ONCE):
            rows = range(start, start + AT_ONCE)
            index.add(everything[start : start + AT_ONCE], [f"{row}.wav" for row in rows])
        index.save()
        print(f"built in {time.perf_counter() - started:.1f} s, {(folder / VECTORS).stat().st_size / 1e6:.0f} MB")
        del index
        queries = made(QUERIES)
        before = psutil.Process().memory_info()
        started = time.perf_counter()
        opened = SoundIndex.open(folder)
        print(f"opened and checked in {time.perf_counter() - started:.2f} s")

        def opened_nearest(query: np.ndarray) -> list[int]:
            return [int(hit.path[:-4]) for hit in opened.nearest(query, top=TOP)]

        def numpy_nearest(query: np.ndarray) -> list[int]:
            return np.argpartition(-(everything @ query), TOP)[:TOP].tolist()

        opened_nearest(queries[0])
        after = psutil.Process().memory_info()
        mapped = after.shared - before.shared  # pages of the file, which the system takes back when it needs them
        own = after.rss - before.rss - mapped
        print(f"searched with {own / 1e6:.0f} MB of its own and {mapped / 1e6:.0f} MB of the mapped files")
        answers = [(_timed(opened_nearest, q), _timed(numpy_nearest, q)) for q in queries]  # in turn
        recall = np.mean([len(set(found) & set(true)) / TOP for (found, _), (true, _) in answers])
        ours, numpys = (np.median([answer[i][1] for answer in answers]) for i in (0, 1))
        print(f"{1000 * ours:.1f} ms a query, numpy {1000 * numpys:.1f} ms; {recall:.3f} of the true ten nearest found")
        # As fast as memory allows would be 2, half the bytes; turning them into 32 bits costs that.
        ratio = float(np.median([theirs / ours for (_, ours), (_, theirs) in answers]))
        claim("search in a million vectors on disk, over numpy over all of them in memory", ratio, 0.5)


def _timed(nearest: Callable[[np.ndarray], list[int]], query: np.ndarray) -> tuple[list[int], float]:
    """Return the answer, and the seconds it took."""
    started = time.perf_counter()
    return nearest(query), time.perf_counter() - started
