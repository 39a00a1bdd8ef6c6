"""The smallest runs that write everything a run writes: a pre-training, a training that starts from it, a probe."""

from __future__ import annotations

from collections.abc import Sequence

from sonolex.data.loader import Loading
from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig
from sonolex.systems.ctal import CtalConfig
from sonolex.tasks.base import TaskConfig
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

PITCH = ClassificationConfig("pitch", label="pitch", classes=("low", "high"))


def recipe(*, manifest: str, kind: str = "train") -> list[Run]:
    """Return two runs that depend on each other ("train"), one alone ("one"), or a probe ("probe")."""
    if kind == "probe":
        return [_run(manifest, "probe", (PITCH,), frozen_classifier="linear")]
    if kind == "one":
        return [_run(manifest, "one", (PITCH,))]
    return [
        _run(manifest, "first", (PretrainingConfig("pretraining"),), epochs=1),
        _run(manifest, "second", (PITCH,), init_from="first"),
    ]


def _run(
    manifest: str,
    name: str,
    tasks: Sequence[TaskConfig],
    *,
    epochs: int = 2,
    init_from: str | None = None,
    frozen_classifier: str = "none",
) -> Run:
    train, selection, report = (
        (Source(manifest=manifest, where={"split": s}),) for s in ("train", "validation", "test")
    )
    frames = LogMelAndTokensConfig(
        rate_hz=8000,
        window_ms=32,
        hop_ms=20,
        fft_samples=256,
        num_mels=20,
        vocab_size=280,
        max_frames=400,
        max_tokens=40,
    )
    small = CtalConfig(
        num_layers=1, width=16, num_heads=2, ffn_width=32, dropout=0.1, stem="conv", frames_per_step=2, max_tokens=40
    )
    return Run(
        name=name,
        system="ctal",
        config=small,
        processor=frames,
        tasks=tuple(tasks),
        data=Data(train=train, selection=selection, report=report, loading=Loading(num_workers=0)),
        optim=Optim(lr=3e-3),
        budget=Budget(epochs=epochs, batch_s=12, batch_clips=12, checkpoint_steps=1),
        init_from=init_from,
        frozen_classifier=frozen_classifier,
    )
