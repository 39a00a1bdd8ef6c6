"""EMO-DB, four emotions, leave one speaker out, by audio alone: a small CALM from scratch and pre-trained.

    sonolex train calm_emodb4 --out runs/calm_emodb4 && sonolex compare runs/calm_emodb4

Pre-training has CALM's two stages (align, then hide) on ToneWords with its transcripts; it uses no EMO-DB clip, so one
pre-training serves all folds. EMO-DB's speakers share their sentences, so its text is never read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sonolex.audio.views import Views
from sonolex.data.corpora.emodb import SPEAKERS
from sonolex.data.loader import Loading
from sonolex.protocols.base import find_protocol
from sonolex.recipes.base import corpus_options
from sonolex.systems.calm import CalmConfig, CalmProcessorConfig
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

PROTOCOL = "emodb4_unseen_speakers"
CONFIG = CalmConfig.tiny(num_layers=3, num_heads=4, attention_dropout=0.0)
PROCESSOR = CalmProcessorConfig(max_frames=1600, max_tokens=40, vocab_size=400)
VIEWS = Views(speed=0.15, vtlp=0.1, gain_db=3, num_mel_masks=1, num_time_masks=1, time_mask_share=0.1)


def recipe(
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    folds: tuple[str, ...] = SPEAKERS,
    epochs: int = 30,
    align_epochs: int = 8,
    hide_epochs: int = 8,
) -> list[Run]:
    """Return both stages of pre-training, and each fold from scratch and from there, per seed."""
    runs = []
    for seed in seeds:
        align = _pretraining("align", seed, align_epochs, None)
        hide = _pretraining("hide", seed, hide_epochs, align.name)
        runs += [align, hide]
        for fold in folds:
            runs += [_fold(fold, seed, epochs, start) for start in (None, hide.name)]
    return runs


def tiny() -> list[Run]:
    """Return one fold from scratch for a few epochs."""
    small: dict[str, Any] = {"num_layers": 1, "width": 32, "num_heads": 2, "ffn_width": 64, "spectran_layers": 1}
    return [replace(_fold("03", 0, 3, None), config=replace(CONFIG, **small))]


def _pretraining(stage: str, seed: int, epochs: int, start: str | None) -> Run:
    def part(name: str) -> tuple[Source, ...]:
        return (Source(protocol="tonewords_all", fold="unseen", part=name),)

    aligning = stage == "align"
    return Run(
        name=f"{stage}-{seed}",
        system="calm",
        config=replace(CONFIG, stage=stage),
        processor=PROCESSOR,
        tasks=(PretrainingConfig("pretraining"),),
        data=Data(train=part("train"), selection=part("selection"), loading=Loading(views=VIEWS)),
        optim=Optim(lr=1e-3, weight_decay=0.05, schedule="cosine"),
        budget=Budget(
            epochs=epochs,
            batch_s=10_000,
            batch_clips=64 if aligning else 32,
            by_length=not aligning,
            evaluate_epochs=epochs,
            select="last",
        ),
        init_from=start,
        precision="auto",
        seed=seed,
    )


def _fold(fold: str, seed: int, epochs: int, start: str | None) -> Run:
    (task,) = find_protocol(PROTOCOL).tasks
    assert isinstance(task, ClassificationConfig)
    return Run(
        name=f"{'scratch' if start is None else 'pretrained'}-{fold}-{seed}",
        row=f"CALM, {'from scratch' if start is None else 'pre-trained on ToneWords'}",
        system="calm",
        config=CONFIG,
        processor=PROCESSOR,
        tasks=(replace(task, label_smoothing=0.1, dropout=0.2),),
        data=Data.of_protocol(
            PROTOCOL,
            fold,
            options=corpus_options("emodb4", "emodb"),
            loading=Loading(modalities=("audio",), views=replace(VIEWS, crop_share=0.2)),
        ),
        optim=Optim(lr=1e-3, weight_decay=0.05, schedule="cosine"),
        budget=Budget(epochs=epochs, batch_s=10_000, batch_clips=16, evaluate_epochs=epochs, select="last"),
        init_from=start,
        precision="auto",
        seed=seed,
    )
