"""protocol.json beside a manifest, as `sonolex fit` leaves it: the folds and the fingerprint it gives."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations, structured
from benchmarks.fuzzing.cases import Mutation
from benchmarks.fuzzing.targets import _material


def warm() -> None:
    import sonolex.protocols.base
    import sonolex.tasks.classification
    import sonolex.tasks.regression
    import sonolex.train.manifests  # noqa: F401

    _material.one_thread()


def make(folder: Path) -> None:
    for name, task in {
        "classification": {"name": "pitch", "label": "pitch", "classes": ["high", "low"]},
        "regression": {"name": "height", "label": "height", "centre": 0.5, "spread": 1.0},
    }.items():
        place = folder / name
        _material.write_table(place / "manifest.csv", _material.write_waves(place, 2))
        card = {"manifest": "manifest.csv", "kind": name, "task": task, "modalities": ["audio", "text"]}
        (place / "protocol.json").write_text(json.dumps(card | {"disjoint": []}, indent=2))


def mutate(folder: Path, rng: random.Random) -> Mutation:
    if rng.random() < 0.85:
        return structured.change_json(folder / "protocol.json", rng)
    if rng.random() < 0.5:
        return structured.change_csv(folder / "manifest.csv", rng)
    return Mutation(mutations.change_bytes(folder / "protocol.json", rng).what)


def use(folder: Path, out: Path) -> Any:
    from sonolex.protocols.base import find_fold, find_protocol
    from sonolex.tasks.base import build_task
    from sonolex.train.manifests import protocol_manifest

    protocol = find_protocol(str(folder / "protocol.json"))
    manifest = protocol_manifest(protocol, ())
    fold = find_fold(protocol, manifest, None)
    for task in protocol.tasks:
        built = build_task(task, 8, seed=0)
        built.scorer_options()
    return {
        "parts": [len(fold.part(n)) for n in ("train", "selection", "report")],
        "print": protocol.fingerprint(manifest),
    }
