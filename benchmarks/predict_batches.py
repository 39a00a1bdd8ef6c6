"""How many seconds of clips a CPU should compute together: one by one, as `predict` chooses, and 120 s at a time.

    python -m benchmarks predict_batches

Untrained models of the sizes that `fit` begins with, on 200 clips of 1 to 4 s, features included.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from benchmarks._timing import claim, interleaved, ratio, table
from sonolex.doors.answering import BATCH_S, Item, Listener
from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.classification import ClassificationConfig

CLIPS, SHORTEST_S, LONGEST_S = 200, 1.0, 4.0
SIZES = {"one by one": 0.01, "as chosen": BATCH_S["cpu"], "32 s": 32.0, "120 s": 120.0}


def run() -> None:
    torch.set_num_threads(1)
    for system in ("ctal", "ast"):
        print(f"  {system}:")
        seconds = _measured(_listener(system))
        table(seconds, what="s", scale=1.0)
        claim(f"{system}, over clips one by one", ratio(seconds, "as chosen", "one by one"), 1.0)
        claim(f"{system}, over 120 s", ratio(seconds, "as chosen", "120 s"), 1.1)


def _measured(listener: Listener) -> dict[str, list[float]]:
    rng = np.random.default_rng(0)
    rate_hz = listener.processor.config.rate_hz
    waves = [0.1 * rng.normal(size=round(rate_hz * rng.uniform(SHORTEST_S, LONGEST_S))) for _ in range(CLIPS)]
    items = [Item((wave.astype(np.float32), rate_hz), name=str(n)) for n, wave in enumerate(waves)]

    def heard(batch_s: float) -> object:
        return list(listener.hear(items, batch_s=batch_s))

    return interleaved({name: partial(heard, size) for name, size in SIZES.items()}, rounds=3)


def _listener(system: str) -> Listener:
    kind = system_type(system)
    config, reading = kind.starter(num_clips=500, longest_s=10.0)
    processor = kind.processor_type.create(reading, transcripts=["hello world"], waves=[np.zeros(16_000, np.float32)])
    built = build_system(system, kind.matched(config, processor))
    task = ClassificationConfig("mood", classes=("good", "bad"))
    model = Model(built, {task.name: build_task(task, built.pooled_dim)}).eval()
    return Listener(model, processor, torch.device("cpu"))
