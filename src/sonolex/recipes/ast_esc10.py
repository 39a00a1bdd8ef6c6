"""ESC-10: a small AST from scratch, after SSAST, after VCR-AST as published and as improved; frozen and fine-tuned.

    sonolex train ast_esc10 --out runs/esc10 && sonolex compare runs/esc10

Cost: see docs/results.md. Floors: MFCC-SVM of the protocol; random forest 0.727 published (44.1 kHz).

The three pre-trainings hear training folds, FSDD and EMO-DB, never the test fold: folds 1 and 2 are tested after
pre-training on 3 to 5, and folds 3 to 5 after pre-training on 1 and 2. All have the same clips, epochs and encoder. A
probe follows them: digits of FSDD's official test takes, by frozen vectors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sonolex.audio.patches import Grid
from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.protocols.base import find_protocol
from sonolex.recipes._real import corpus_options
from sonolex.systems._spectrogram_transformer import SpectrogramConfig
from sonolex.systems.ast import AstConfig
from sonolex.systems.ssast import SsastConfig
from sonolex.systems.vcr_ast import VcrAstConfig
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.probe import ProbeConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

PROTOCOL = "esc10"
PROCESSOR = SpectrogramConfig(mean=-9.0, std=4.5, max_frames=1000)
ENCODER: dict[str, Any] = {
    "grid": Grid(frames=16, bins=16),
    "table_frames": 512,
    "num_layers": 4,
    "width": 192,
    "num_heads": 3,
    "ffn_width": 768,
    "pool": "mean_std",
}
VIEWS = Views(gain_db=6, speed=0.1, num_mel_masks=1, mel_mask_bins=24, num_time_masks=1, time_mask_share=0.2)
HELD_OUT = {"a": ("1", "2"), "b": ("3", "4", "5")}
"""Folds that a pre-training does not hear, by its name."""
PUBLISHED = VcrAstConfig(**ENCODER)
IMPROVED = VcrAstConfig(
    **ENCODER, hidden_share=0.5, hidden_patches="dropped", expander_width=512, time_stretch=0.2, freq_mask_bins=48
)
SYSTEMS = {
    "ssast": ("ssast", SsastConfig(**ENCODER), "SSAST"),
    "published": ("vcr_ast", PUBLISHED, "VCR-AST as published"),
    "improved": ("vcr_ast", IMPROVED, "VCR-AST, improved"),
}


def recipe(*, seeds: tuple[int, ...] = (0, 1, 2), epochs: int = 40, pretrain_epochs: int = 10) -> list[Run]:
    """Return, per seed and fold: random weights and three pre-trainings, each frozen under an SVM and fine-tuned."""
    runs = []
    for seed in seeds:
        for group, folds in HELD_OUT.items():
            starts: dict[str, str | None] = {"scratch": None}
            for kind in SYSTEMS:
                runs.append(_pretraining(kind, group, seed, pretrain_epochs))
                starts[kind] = runs[-1].name
            for fold in folds:
                for kind, start in starts.items():
                    runs.append(_run(kind, fold, seed, epochs, start, classifier="svm"))
                    runs.append(_run(kind, fold, seed, epochs, start))
    return runs


def tiny() -> list[Run]:
    """Return one fold for a few epochs."""
    return [_run("scratch", "1", 0, 4, None)]


def _pretraining(kind: str, group: str, seed: int, epochs: int) -> Run:
    system, config, _ = SYSTEMS[kind]
    options = corpus_options("esc10")
    heard = tuple(f for f in "12345" if f not in HELD_OUT[group])
    sounds = Source(corpus="esc10", options=options, where={"fold": heard})
    digits = Source(corpus="fsdd", options=corpus_options("fsdd"))
    large = kind != "published"
    return Run(
        name=f"pretrain-{kind}-{group}-{seed}",
        system=system,
        config=config,
        processor=PROCESSOR,
        tasks=(PretrainingConfig("pretraining"), ProbeConfig("digit", label="digit")),
        data=Data(
            train=(
                sounds,
                replace(digits, where={"split": "train"}),
                Source(corpus="emodb", options=corpus_options("emodb4", "emodb") | {"strict": False}),
            ),
            selection=(replace(digits, where={"split": "test"}),),
            loading=Loading(modalities=("audio",)),
        ),
        optim=Optim(lr=1e-3, weight_decay=0.05, schedule="cosine"),
        budget=Budget(
            epochs=epochs,
            batch_s=10_000,
            batch_clips=32 if large else 12,
            accumulate=4 if large else 1,
            evaluate_epochs=2,
            select="last",
        ),
        precision="auto",
        seed=seed,
    )


def _run(kind: str, fold: str, seed: int, epochs: int, start: str | None, *, classifier: str = "none") -> Run:
    system, config, words = SYSTEMS.get(kind, ("ast", AstConfig(**ENCODER), "AST from scratch"))
    (task,) = find_protocol(PROTOCOL).tasks
    assert isinstance(task, ClassificationConfig)
    frozen = classifier != "none"
    if kind == "scratch" and frozen:
        words = "random weights"
    return Run(
        name=f"{'frozen' if frozen else 'tuned'}-{kind}-{fold}-{seed}",
        row=f"{words}, {'frozen + SVM' if frozen else 'fine-tuned'}",
        system=system,
        config=config,
        processor=PROCESSOR,
        tasks=(replace(task, norm="layer", label_smoothing=0.1),),
        data=Data.of_protocol(
            PROTOCOL, fold, options=corpus_options("esc10"), loading=Loading(modalities=("audio",), views=VIEWS)
        ),
        optim=Optim(lr=1e-3, weight_decay=0.05, schedule="cosine"),
        budget=Budget(epochs=epochs, batch_s=10_000, batch_clips=16, evaluate_epochs=epochs, select="last"),
        init_from=start,
        frozen_classifier=classifier,
        precision="auto",
        seed=seed,
    )
