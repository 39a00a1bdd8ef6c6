"""Finished run folders as the trainer leaves them, with predictions of a chosen accuracy."""

from __future__ import annotations

import json

import numpy as np

from sonolex.metrics import CLASSIFICATION


def predictions(true, predicted, classes=("no", "yes"), fold="one"):
    scores = np.eye(len(classes))[predicted]
    return {
        "scorer": "classification",
        "options": {"classes": list(classes), "metric_names": list(CLASSIFICATION)},
        "clip_ids": [f"{fold}-{i}" for i in range(len(true))],
        "labels": [classes[t] for t in true],
        "scores": scores.tolist(),
    }


def make_run(folder, *, row="model", seed=0, fold="one", fingerprint="aaa", card=None, accuracy=0.8, task="mood"):
    rng = np.random.default_rng([seed, len(fold)])
    true = rng.integers(0, 2, 60)
    predicted = np.where(rng.random(60) < accuracy, true, 1 - true)
    (folder / "predictions").mkdir(parents=True)
    (folder / "floors").mkdir()
    (folder / "predictions" / f"{task}.json").write_text(json.dumps(predictions(true, predicted, fold=fold)))
    (folder / "floors" / f"{task}.majority.json").write_text(
        json.dumps(predictions(true, np.zeros(60, int), fold=fold))
    )
    steps = [{"event": "step", "step": s, "total": 1 / (s + 1)} for s in range(50)]
    (folder / "journal.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps) + '{"event": "st')
    results = {
        "run": folder.name, "row": row, "seed": seed, "fold": fold, "protocol": "p", "fingerprint": fingerprint,
        "card": card or {"protocol": "p", "labels": fingerprint}, "primary": "accuracy", "notes": "",
        "scores": {task: {"accuracy": 0.0}}, "published": {"the paper": {"accuracy": 0.9}}, "train_s": 1.0,
        "trained_clips": 50, "num_parameters": 2_500_000,
        "environment": {"sonolex": "0", "git_commit": "c" * 40, "git_dirty": False, "torch": "2", "num_cpus": 2},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    return folder
