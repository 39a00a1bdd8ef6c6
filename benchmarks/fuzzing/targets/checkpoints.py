"""Run folders of a training that was stopped, gone on with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations, structured
from benchmarks.fuzzing.cases import Mutation
from benchmarks.fuzzing.targets import _material

WRITES = ("run",)  # going on writes here, and only here


def warm() -> None:
    import sonolex.systems.ctal
    import sonolex.tasks.classification
    import sonolex.train.loop  # noqa: F401

    _material.one_thread()


def make(folder: Path) -> None:
    from sonolex.train.loop import train

    data = folder.parent / "checkpoints-data"  # a run names its manifest by its place, so it is not copied
    _material.write_table(data / "manifest.csv", _material.write_waves(data, 4))

    def stop(step: int, value: float) -> None:
        if step > 3:
            raise InterruptedError

    try:
        train(_run(data), folder / "stopped" / "run", quiet=True, watch=stop)
    except InterruptedError:
        return
    raise RuntimeError("the training must be stopped by its watch, but ends")


def mutate(folder: Path, rng: random.Random) -> Mutation:
    files = sorted(p for p in (folder / "run").rglob("*") if p.is_file() and "tensorboard" not in p.parts)
    state = [p for p in files if p.name in ("state.json", "optimizer.safetensors")]
    file = rng.choice(state if rng.random() < 0.6 else files)
    if rng.random() < 0.05:
        file.unlink()
        return Mutation(f"{file.name}: missing")
    if file.suffix == ".safetensors" and rng.random() < 0.5:
        return structured.change_safetensors(file, rng)
    if file.suffix == ".json" and rng.random() < 0.8:
        return structured.change_json(file, rng)
    return Mutation(mutations.change_bytes(file, rng).what)


def use(folder: Path, out: Path) -> Any:
    from sonolex.train.loop import train

    data = folder.parents[2] / "goods" / "checkpoints-data"
    return {"scores": train(_run(data), folder / "run", quiet=True)["scores"]}


def _run(folder: Path) -> Any:
    from sonolex.data.loader import Loading
    from sonolex.tasks.classification import ClassificationConfig
    from sonolex.train.run import Budget, Data, Optim, Run, Source

    def part(split: str) -> tuple[Source, ...]:
        return (Source(manifest=str(folder / "manifest.csv"), where={"split": split}),)

    config, processor = _material._sizes("ctal")
    return Run(
        name="small",
        system="ctal",
        config=config,
        processor=processor,
        tasks=(ClassificationConfig("pitch", label="pitch", classes=("low", "high")),),
        data=Data(train=part("train"), selection=part("validation"), report=part("test"), loading=Loading()),
        optim=Optim(lr=3e-3),
        budget=Budget(epochs=2, batch_s=8, batch_clips=8, checkpoint_steps=1),
    )
