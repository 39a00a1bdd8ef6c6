"""Unit vectors and the paths they stand for, on disk: append-only, memory-mapped for searching, safe to open.

A folder has ``vectors.f16`` (a row per path, two bytes a number, little-endian), ``paths.jsonl`` (a JSON string a line)
and ``index.json``, which records how much of the two is valid, with their checksums. Both are appended to before
``index.json`` counts them, so a killed process leaves a tail that the next one cuts off.

The search is exact: every vector is multiplied with the query, block by block. A graph (HNSW) answers ten times as fast
at a million vectors, but takes three quarters of an hour to build, misses some matches, and consists of pointers, so a
changed byte makes it crash; in a matrix of numbers any bytes are safe, and only those that are not finite are wrong.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sonolex.files import append_bytes, load_object, save_json, sync, writing

VECTORS, PATHS, CARD = "vectors.f16", "paths.jsonl", "index.json"
FORMAT_VERSION = 2  # 1 was a graph of usearch
BLOCK_NUMBERS = 1 << 19  # of vectors that a thread compares at once: they and their copy in 32 bits stay in its cache
CHECKED_BYTES = 1 << 24  # at once, when a file is opened
MOST_DIM = 1 << 16
MOST_LINE_BYTES = 1 << 16
NOT_FINITE = 0x7C00  # exponent of infinities and NaN in 16 bits


@dataclass(frozen=True)
class Card:
    """The contents of index.json: the model of the vectors, and how much of the two files is valid."""

    model: str
    weights: str
    dim: int
    count: int = 0
    paths_bytes: int = 0
    vectors_crc32: int = 0
    paths_crc32: int = 0
    format_version: int = FORMAT_VERSION

    @property
    def vectors_bytes(self) -> int:
        return 2 * self.count * self.dim


class VectorFiles:
    """An opened folder of vectors, mapped and checked.

    Raises:
        FileNotFoundError: the folder has no index.
        ValueError: index.json is damaged or of another format, or the files are not those it was written with.
    """

    def __init__(self, folder: Path):
        self.folder, self.card = folder, read_card(folder)
        card = self.card
        vectors = _mapped(folder / VECTORS, card.vectors_bytes, card.vectors_crc32)
        self._vectors_ND = vectors.view("<f2").reshape(card.count, card.dim)
        self._paths = _mapped(folder / PATHS, card.paths_bytes, card.paths_crc32)
        self._line_ends = np.flatnonzero(self._paths == ord("\n"))
        if len(self._line_ends) != card.count or (card.count and self._line_ends[-1] + 1 != card.paths_bytes):
            raise _spoilt(folder / PATHS, f"{card.count} lines", f"{len(self._line_ends)}")
        for start in range(0, len(vectors), CHECKED_BYTES):
            exponents = vectors[start : start + CHECKED_BYTES].view("<u2") & NOT_FINITE
            if (exponents == NOT_FINITE).any():
                raise _spoilt(folder / VECTORS, "finite numbers", "has infinity or NaN")

    def __len__(self) -> int:
        return self.card.count

    def path(self, row: int) -> str:
        """Return the path of a row.

        Raises:
            ValueError: its line is not a JSON string.
        """
        start = int(self._line_ends[row - 1]) + 1 if row else 0
        end = int(self._line_ends[row])
        try:
            path = json.loads(self._paths[start : min(end, start + MOST_LINE_BYTES)].tobytes())
        except (ValueError, RecursionError):
            path = None
        if not isinstance(path, str):
            raise _spoilt(self.folder / PATHS, "a JSON string in every line", f"has none in line {row + 1}")
        return path

    def paths(self) -> list[str]:
        """Return all paths, by row."""
        return [self.path(row) for row in range(len(self))]

    def nearest(self, query_D: np.ndarray, *, top: int) -> list[tuple[int, float]]:
        """Return the rows with the highest cosine, highest first, with their cosines.

        Raises:
            ValueError: a query of another length, or ``top`` below 1.
        """
        if query_D.shape != (self.card.dim,):
            raise ValueError(f"`query` must have {self.card.dim} numbers, but has the shape {query_D.shape}.")
        if top < 1:
            raise ValueError(f"`top` must be at least 1, but is {top}.")
        unit_D = torch.from_numpy(unit(query_D))
        vectors_ND, cosines_N = torch.from_numpy(self._vectors_ND), torch.empty(len(self))
        rows = max(1, BLOCK_NUMBERS // self.card.dim)
        workers = max(1, min(torch.get_num_threads(), len(self) // rows))
        share = -(-len(self) // workers) or 1

        def compare(first: int) -> None:
            for start in range(first, min(first + share, len(self)), rows):
                end = min(start + rows, first + share, len(self))
                cosines_N[start:end] = vectors_ND[start:end].float() @ unit_D

        # Threads that wait for each other after every block take 40 times as long on a busy machine as these.
        with ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) as pool:
            list(pool.map(compare, range(0, len(self), share)))
        highest, indices = cosines_N.topk(min(top, len(self)))
        return list(zip(indices.tolist(), highest.tolist(), strict=True))


class GrowingFiles:
    """A folder of vectors to append to. Only one process may do so at a time.

    Raises:
        ValueError: the folder is of another model or other weights, or damaged.
    """

    def __init__(self, folder: Path, card: Card):
        self.folder, self.card, self.paths = folder, card, []
        if (folder / CARD).exists():
            opened = VectorFiles(folder)
            _require_same_model(folder, opened.card, card)
            self.card, self.paths = opened.card, opened.paths()
        for name, counted in ((VECTORS, self.card.vectors_bytes), (PATHS, self.card.paths_bytes)):
            with writing(folder / name), (folder / name).open("ab") as file:
                file.truncate(counted)  # what a killed process appended and did not count

    def add(self, vectors_ND: np.ndarray, paths: Sequence[str]) -> None:
        """Append vectors, scaled to length 1, and the path of each. They count from the next `save` on."""
        rows = unit(vectors_ND).astype("<f2").tobytes()
        lines = "".join(json.dumps(path) + "\n" for path in paths).encode("ascii")
        append_bytes(self.folder / VECTORS, rows)
        append_bytes(self.folder / PATHS, lines)
        self.paths += paths
        self.card = replace(
            self.card,
            count=len(self.paths),
            paths_bytes=self.card.paths_bytes + len(lines),
            vectors_crc32=zlib.crc32(rows, self.card.vectors_crc32),
            paths_crc32=zlib.crc32(lines, self.card.paths_crc32),
        )

    def save(self) -> None:
        """Count everything that was added."""
        for name in (VECTORS, PATHS):
            with writing(self.folder / name):
                sync(self.folder / name)
        save_json(self.folder / CARD, self.card)


def read_card(folder: Path) -> Card:
    """Return the contents of a folder's index.json.

    Raises:
        FileNotFoundError: there is none.
        ValueError: another format, or other fields than it was written with.
    """
    path = folder / CARD
    if not path.is_file():
        raise FileNotFoundError(f"`index` must be a folder that `sonolex index` wrote, but {folder} is none.")
    saved = load_object(path, cure=_cure(folder))
    if saved.get("format_version") != FORMAT_VERSION:
        was = saved.get("format_version", "none: an older version wrote it")
        raise _spoilt(path, f"`format_version` {FORMAT_VERSION}", f"has {was}")
    written = asdict(Card("", "", 0))
    wrong = sorted(set(saved) ^ set(written)) or [n for n, v in written.items() if type(saved[n]) is not type(v)]
    whole = {n: v for n, v in saved.items() if isinstance(v, int)}
    wrong += [n for n, v in whole.items() if not 0 <= v < 1 << 48]
    if wrong or not 1 <= saved["dim"] <= MOST_DIM:
        raise _spoilt(path, "the fields it was written with", f"differs in {', '.join(wrong or ['dim'])}")
    return Card(**saved)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1, in 32 bits; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.finfo(np.float32).tiny)


def _mapped(path: Path, num_bytes: int, checksum: int) -> np.ndarray:
    """Return the first bytes of a file, memory-mapped; the mapping is private, so that torch does not warn."""
    if not path.is_file():
        raise _spoilt(path, "a file", "is none")
    size = path.stat().st_size
    if size < num_bytes:
        raise _spoilt(path, f"at least {num_bytes:,} bytes", f"has {size:,}")
    mapped = np.memmap(path, np.uint8, mode="c", shape=(num_bytes,)) if num_bytes else np.zeros(0, np.uint8)
    computed = 0
    for start in range(0, num_bytes, CHECKED_BYTES):
        computed = zlib.crc32(mapped[start : start + CHECKED_BYTES].data, computed)
    if computed != checksum:
        raise _spoilt(path, f"the checksum {checksum:08x} that {CARD} names", f"has {computed:08x}")
    return mapped


def _require_same_model(folder: Path, saved: Card, wanted: Card) -> None:
    if saved.model != wanted.model:
        raise ValueError(f"`out` must be an index of {wanted.model}, but is one of {saved.model}. Name another folder.")
    if (saved.weights, saved.dim) != (wanted.weights, wanted.dim):
        raise ValueError(
            f"{folder} must be an index of the weights that {wanted.model} has, but they have changed since. "
            "Name another folder."
        )


def _spoilt(path: Path, wanted: str, actual: Any) -> ValueError:
    return ValueError(f"{path} must have {wanted}, but {actual}. {_cure(path.parent)}")


def _cure(folder: Path) -> str:
    return f"Remove {folder / CARD}, and `sonolex index` makes the index again."
