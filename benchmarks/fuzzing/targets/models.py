"""Model folders, as they are downloaded: config.json, processor, tokenizer and weights, given to `sonolex predict`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations, structured
from benchmarks.fuzzing.cases import Mutation
from benchmarks.fuzzing.doors import sonolex
from benchmarks.fuzzing.targets import _material

TEXT = "it is warm today"


def warm() -> None:
    import safetensors.torch  # noqa: F401
    import soundfile  # noqa: F401
    import tokenizers  # noqa: F401

    import sonolex.cli
    import sonolex.doors.api
    import sonolex.systems.calm
    import sonolex.systems.ctal
    import sonolex.tasks.classification
    import sonolex.tasks.retrieval  # noqa: F401

    _material.one_thread()


def make(folder: Path) -> None:
    for system in ("ctal", "calm"):
        _material.small_model(system, folder / system / "model")
        _material.write_waves(folder / system, 1)


def mutate(folder: Path, rng: random.Random) -> Mutation:
    model = folder / "model"
    way = rng.random()
    if way < 0.03:
        return _lose_a_file(model, rng)
    if way < 0.45:
        return structured.change_json(model / "config.json", rng)
    if way < 0.6:
        return structured.change_json(model / "processor_config.json", rng)
    if way < 0.75:
        return structured.change_safetensors(model / "model.safetensors", rng)
    if way < 0.85:
        return mutations.change_bytes(model / "model.safetensors", rng, header=(0, 2000))
    if way < 0.95:
        return structured.change_json(model / "tokenizer.json", rng)
    file = model / rng.choice(("config.json", "processor_config.json", "tokenizer.json"))
    found = mutations.change_bytes(file, rng)
    return Mutation(found.what)


def use(folder: Path, out: Path) -> Any:
    if _system(folder) == "calm":  # aligns, and has no task to predict
        from sonolex.doors.api import Pipeline

        return {"embedding": Pipeline.load(folder / "model").embed(audio=str(folder / "clip00.wav"))}
    printed = sonolex("predict", folder / "model", folder / "clip00.wav", "--text", TEXT)
    return {"lines": [json.loads(line) for line in printed.splitlines()]}


def _system(folder: Path) -> Any:
    config = folder / "model" / "config.json"
    try:
        return json.loads(config.read_text())["system"] if config.is_file() else None
    except (OSError, ValueError, RecursionError, TypeError, LookupError):
        return None


def _lose_a_file(model: Path, rng: random.Random) -> Mutation:
    file = rng.choice(sorted(model.iterdir()))
    way = rng.choice(("missing", "empty", "a folder", "a link to itself"))
    file.unlink()
    if way == "empty":
        file.touch()
    elif way == "a folder":
        file.mkdir()
    elif way == "a link to itself":
        file.symlink_to(file.name)
    return Mutation(f"{file.name}: {way}")
