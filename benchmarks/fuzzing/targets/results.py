"""Finished run folders, compared and reported."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations, structured
from benchmarks.fuzzing.cases import Mutation
from benchmarks.fuzzing.doors import check_page, sonolex
from benchmarks.fuzzing.targets import _material

NAMES = ("first-row",)
NUM_CLIPS = 16


def warm() -> None:
    import matplotlib.figure  # noqa: F401
    import sklearn.manifold  # noqa: F401

    import sonolex.cli
    import sonolex.results.compare
    import sonolex.results.paired
    import sonolex.results.report  # noqa: F401

    _material.one_thread()


def make(folder: Path) -> None:
    for name, task in (("classes", "mood"), ("numbers", "height")):
        for row, seed in (("one", 0), ("two", 0), ("two", 1)):
            _write_run(folder / name / f"{row}-{seed}", row="first-row" if row == "one" else row, seed=seed, task=task)


def mutate(folder: Path, rng: random.Random) -> Mutation:
    run = rng.choice(sorted(folder.iterdir()))
    files = sorted(p for p in run.rglob("*") if p.is_file())
    file = run / "results.json" if rng.random() < 0.4 else rng.choice(files)
    if rng.random() < 0.03:
        file.unlink()
        return Mutation(f"{file.name}: missing")
    if file.suffix in (".json", ".jsonl") and rng.random() < 0.85:
        return structured.change_json(file, rng)
    if file.suffix == ".npz" and rng.random() < 0.5:
        return structured.change_zip(file, rng, names=("pooled.npy", "groups.npy", "../precious.npy", "x"))
    return Mutation(mutations.change_bytes(file, rng).what)


def use(folder: Path, out: Path) -> Any:
    printed = sonolex("compare", folder, "--against", *NAMES, "--times")
    sonolex("compare", folder, "--markdown")
    sonolex("report", folder, "--out", out / "report.html")
    check_page(out / "report.html", folder.parent / "notes")
    return [float("nan") for word in printed.split() if word in ("nan", "inf", "-inf")] or printed


def _write_run(folder: Path, *, row: str, seed: int, task: str) -> None:
    """Write what a run leaves, without a training."""
    import numpy as np

    from sonolex.metrics import CLASSIFICATION

    rng = np.random.default_rng([seed, len(row)])
    classes = ["bad", "good"]
    true = rng.integers(0, 2, NUM_CLIPS)
    saved: dict[str, Any] = {"clip_ids": [f"clip-{i}" for i in range(NUM_CLIPS)]}
    if task == "mood":
        saved |= {"scorer": "classification", "labels": [classes[t] for t in true]}
        saved |= {"scores": rng.random((NUM_CLIPS, 2)).round(5).tolist()}
        saved |= {"options": {"classes": classes, "metric_names": list(CLASSIFICATION)}}
    else:
        saved |= {"scorer": "regression", "labels": true.tolist(), "scores": rng.random((NUM_CLIPS, 1)).tolist()}
        saved |= {"options": _regression_options()}
    for name in (f"predictions/{task}.json", f"floors/{task}.majority.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(saved))
    steps = [{"event": "step", "step": s, "total": 1 / (s + 1)} for s in range(30)]
    (folder / "journal.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps))
    groups = np.array([f"speaker{i % 3}" for i in range(NUM_CLIPS)])
    pooled = rng.normal(size=(NUM_CLIPS, 8)).astype(np.float32)
    if row in NAMES:  # one projection takes as long as all the rest
        np.savez_compressed(folder / "predictions" / "embeddings.npz", pooled=pooled, groups=groups)
    primary = "accuracy" if task == "mood" else "mae"
    results = {
        "run": folder.name, "row": row, "seed": seed, "fold": "given", "protocol": "protocol", "fingerprint": "abc123",
        "card": {"protocol": "protocol", "tasks": []}, "primary": primary, "notes": "a note", "steps": 30,
        "scores": {task: {primary: 0.5}}, "floors": {}, "published": {"the paper": {primary: 0.9}}, "train_s": 1.0,
        "trained_clips": 50, "num_parameters": 2_500_000, "modalities": ["audio"], "system": "ctal",
        "environment": {"sonolex": "0", "git_commit": "c" * 40, "git_dirty": False, "torch": "2", "num_cpus": 2},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))


def _regression_options() -> dict[str, Any]:
    from sonolex.tasks.base import build_task
    from sonolex.tasks.regression import RegressionConfig

    return build_task(RegressionConfig("height", label="height"), 8, seed=0).scorer_options()
