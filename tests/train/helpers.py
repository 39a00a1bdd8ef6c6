"""Small complete runs, and a program that trains one: tests kill it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.regression import RegressionConfig
from sonolex.train.loop import train
from sonolex.train.run import Budget, Data, Optim, Run, Source
from tests.conftest import TINY, TINY_PROCESSOR

PITCH = ClassificationConfig("pitch", label="pitch", classes=("low", "high"))
MOOD = ClassificationConfig("mood", label="mood", classes=("good", "bad"))
HEIGHT = RegressionConfig("height", label="height", centre=0.7, spread=0.4)


def small_run(corpus_folder: str | Path, *, dropout: float = 0.1, **changes) -> Run:
    """Return three tasks and pre-training on one backbone, with every source of randomness switched on."""

    def part(split: str) -> tuple[Source, ...]:
        return (Source(manifest=str(Path(corpus_folder) / "manifest.arrow"), where={"split": split}),)

    loading = Loading(views=Views(gain_db=3, speed=0.1, num_mel_masks=1), drop_audio=0.1, drop_text=0.1, num_workers=1)
    run = Run(
        name="small",
        system="ctal",
        config=replace(TINY, dropout=dropout),
        processor=TINY_PROCESSOR,
        tasks=(PITCH, MOOD, HEIGHT, PretrainingConfig("pretraining", weight=0.2)),
        data=Data(train=part("train"), selection=part("validation"), report=part("test"), loading=loading),
        optim=Optim(lr=3e-3),
        budget=Budget(epochs=3, batch_s=8, batch_clips=8, checkpoint_steps=1),
    )
    return replace(run, **changes)


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights at the end of training, before a selection."""
    from safetensors.torch import load_file

    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return load_file(last / "model.safetensors")


if __name__ == "__main__":
    corpus_folder, run_folder, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    torch.set_num_threads(1)
    budget = Budget(**{"epochs": 3, "batch_s": 8, "batch_clips": 8, "checkpoint_steps": 1} | options.pop("budget", {}))
    train(small_run(corpus_folder, budget=budget, **options), run_folder, quiet=True)
