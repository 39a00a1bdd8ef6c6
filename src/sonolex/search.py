"""Search recordings by words or by another recording: an index of a folder's aligned vectors.

An index is a folder: the vectors in a file of usearch and the paths in the order of their keys, both memory-mapped when
searched, so they may be larger than memory; and the model they came from. Needs the extra ``index``.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sonolex.api import Pipeline

VECTORS, PATHS, CARD = "vectors.usearch", "paths.arrow", "index.json"
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus")
AT_ONCE = 64  # recordings embedded together
SAVED_EVERY_S = 30.0


@dataclass(frozen=True)
class Hit:
    """A recording and the cosine of its vector with the query's."""

    path: str
    similarity: float


class SoundIndex:
    """An opened index. The model is loaded at the first query that needs it."""

    def __init__(self, vectors: Any, paths: pa.ChunkedArray, card: dict[str, Any], *, trust_code: bool = False):
        self.card, self._vectors, self._paths, self._trust_code = card, vectors, paths, trust_code
        self._model: Pipeline | None = None

    @classmethod
    def open(cls, folder: str | Path, *, trust_code: bool = False) -> SoundIndex:
        """Return the index in ``folder``; its vectors stay on disk. ``trust_code`` is for its model's folder.

        Raises:
            FileNotFoundError: there is none.
        """
        folder = Path(folder)
        if not (folder / CARD).is_file():
            raise FileNotFoundError(f"`index` must be a folder that `sonolex index` wrote, but {folder} is none.")
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        vectors = _usearch().Index.restore(folder / VECTORS, view=True)
        return cls(vectors, _paths(folder), card, trust_code=trust_code)

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, *, text: str | None = None, audio: str | Path | None = None, top: int = 10) -> list[Hit]:
        """Return the nearest recordings, nearest first.

        Raises:
            ValueError: neither words nor a recording, or both.
        """
        if (text is None) == (audio is None):
            raise ValueError("`text` or `audio` must be given, and only one of them.")
        if self._model is None:
            self._model = _aligning(self.card["model"], self._trust_code)
        return self.nearest(self._model.embed(text=text, audio=audio), top=top)

    def nearest(self, vector_D: np.ndarray, *, top: int = 10) -> list[Hit]:
        """Return the recordings whose vectors are nearest to this one by cosine."""
        found = self._vectors.search(np.asarray(vector_D, np.float32), top)
        return [Hit(self._paths[int(m.key)].as_py(), 1.0 - float(m.distance)) for m in found]


def build_index(folder: str | Path, *, model: str | Path, out: str | Path, trust_code: bool = False) -> tuple[int, int]:
    """Embed the recordings under ``folder`` that ``out`` does not have yet; return how many are new, and how many all.

    The index is written every half minute, so the same command goes on where it was stopped.

    Raises:
        FileNotFoundError: no recordings there.
        ValueError: a model that aligns nothing, or an index of another model.
        AudioError: a recording that cannot be used, by name.
    """
    from rich.progress import track

    folder, out = Path(folder).resolve(), Path(out)
    files = sorted(str(p) for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"`folder` must hold recordings ({', '.join(AUDIO_SUFFIXES)}), but {folder} has none.")
    pipeline, card = (
        _aligning(model, trust_code),
        {"model": str(Path(model).resolve()) if Path(model).exists() else str(model)},
    )
    vectors, paths = _opened_for_writing(out, card, pipeline.model.system.pooled_dim)
    known = set(paths)
    new = [f for f in files if f not in known]
    saved = time.perf_counter()
    for start in track(
        range(0, len(new), AT_ONCE), "embedding recordings", disable=len(new) <= AT_ONCE, transient=True
    ):
        part = new[start : start + AT_ONCE]
        vectors.add(np.arange(len(paths), len(paths) + len(part)), pipeline.embed(audio=part).astype(np.float32))
        paths += part
        if start + AT_ONCE >= len(new) or time.perf_counter() - saved > SAVED_EVERY_S:
            _save(out, vectors, paths, card)
            saved = time.perf_counter()
    return len(new), len(paths)


def _save(out: Path, vectors: Any, paths: list[str], card: dict[str, Any]) -> None:
    """Write all three files; paths first: killed in between, an index has more paths than vectors, never fewer."""
    table = pa.table({"path": paths})
    with pa.OSFile(str(out / f".{PATHS}"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    vectors.save(out / f".{VECTORS}")
    for name in (PATHS, VECTORS):
        (out / f".{name}").replace(out / name)
    (out / CARD).write_text(json.dumps(card | {"recordings": len(paths)}, indent=2) + "\n", encoding="utf-8")


def _paths(folder: Path) -> pa.ChunkedArray:
    return pa.ipc.open_file(pa.memory_map(str(folder / PATHS))).read_all()["path"]


def _opened_for_writing(out: Path, card: dict[str, Any], dim: int) -> tuple[Any, list[str]]:
    index = _usearch().Index(ndim=dim, metric="cos", dtype="f16")
    out.mkdir(parents=True, exist_ok=True)
    if not (out / CARD).is_file():
        return index, []
    made_by = json.loads((out / CARD).read_text(encoding="utf-8"))["model"]
    if made_by != card["model"]:
        raise ValueError(f"`out` must be an index of {card['model']}, but is one of {made_by}. Name another folder.")
    index.load(out / VECTORS)
    return index, _paths(out).to_pylist()[: len(index)]


def _aligning(model: str | Path, trust_code: bool) -> Pipeline:
    """Return the model; its vectors must be comparable across modalities."""
    pipeline = Pipeline.load(model, trust_code=trust_code)
    if not pipeline.model.system.aligns_modalities:
        raise ValueError(
            f"`model` must be a system whose vectors are aligned across modalities (CALM with pooled='aligned'), "
            f"but {model} is {pipeline.model.system.name} without."
        )
    return pipeline


def _usearch() -> Any:
    try:
        from usearch import index
    except ImportError as e:
        raise ImportError("usearch must be installed to search recordings: pip install 'sonolex[index]'.") from e
    return index
