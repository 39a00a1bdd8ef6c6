"""Indexes of recordings, searched."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations, structured
from benchmarks.fuzzing.cases import Mutation
from benchmarks.fuzzing.doors import sonolex
from benchmarks.fuzzing.targets import _material, models

NUM_RECORDINGS = 40


def warm() -> None:
    import sonolex.doors.search  # noqa: F401

    models.warm()


def make(folder: Path) -> None:
    from sonolex.doors.search import build_index

    model = _material.small_model("calm", folder.parent / "index-model")
    _material.write_waves(folder.parent / "index-sounds", NUM_RECORDINGS)
    build_index(folder.parent / "index-sounds", model=model, out=folder / "index" / "index")


def mutate(folder: Path, rng: random.Random) -> Mutation:
    files = sorted(p for p in (folder / "index").iterdir() if p.is_file())
    file = rng.choice(files)
    if file.suffix == ".json" and rng.random() < 0.8:
        return structured.change_json(file, rng)
    if file.suffix == ".json":
        return Mutation(mutations.change_bytes(file, rng).what)
    if rng.random() < 0.05:
        return mutations.join_files(file, rng.choice(files), rng)
    size = file.stat().st_size
    return mutations.change_bytes(file, rng, header=rng.choice(((0, 300), (max(0, size - 600), size), (0, size))))


def use(folder: Path, out: Path) -> Any:
    import numpy as np

    from sonolex.doors.search import SoundIndex

    index = SoundIndex.open(folder / "index")
    vectors = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    hits = [[(h.path, h.similarity) for h in index.nearest(v, top=NUM_RECORDINGS)] for v in vectors]
    printed = sonolex("search", folder / "index", "--audio", folder.parents[2] / "goods/index-sounds/clip00.wav")
    return {"count": len(index), "hits": hits, "printed": printed}
