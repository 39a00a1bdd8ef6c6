"""ESC-10: a small AST from scratch, after SSAST, after VCR-AST as published and as improved; frozen and fine-tuned.

    sonolex train ast_esc10 --out runs/esc10
    sonolex compare runs/esc10 --against "fine-tuned, from scratch"

Cost: two hours on two cores (18 pre-trainings of four to eight minutes, 75 fine-tunings of one). Expected accuracy:
frozen + SVM 0.833 after the improved VCR-AST, 0.772 with random weights; fine-tuned 0.845, and 0.844 from scratch
(floors: log-mel SVM 0.843, MFCC-SVM 0.772; random forest 0.727 published at 44.1 kHz).

The three pre-trainings use training folds, EMO-DB and generated sound scenes, never the test fold: folds 1 and 2 are
tested after pre-training on 3 to 5, and folds 3 to 5 after pre-training on 1 and 2. Encoder, clips and rates are the
same; the objective and the time it takes decide the number of epochs, so that each costs about the same.

Fine-tuning selects nothing (last epoch), so it trains on the selection part too, as floors and probes do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sonolex.audio.patches import Grid
from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.processors.spectrogram import SpectrogramConfig
from sonolex.protocols.base import find_protocol
from sonolex.recipes.base import corpus_options
from sonolex.systems.ast import AstConfig
from sonolex.systems.ssast import SsastConfig
from sonolex.systems.vcr_ast import VcrAstConfig
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

PROTOCOL = "esc10"
PROCESSOR = SpectrogramConfig(mean=-7.0, std=5.0, max_frames=1000)
ENCODER: dict[str, Any] = {
    "grid": Grid(frames=32, bins=16),
    "table_frames": 512,
    "num_layers": 4,
    "width": 192,
    "num_heads": 3,
    "ffn_width": 768,
    "patch_norm": "dual",
    "pool": "mean_std",
}
HELD_OUT = {"a": ("1", "2"), "b": ("3", "4", "5")}
"""Folds that are left out of a pre-training, by its name."""
FINE_VIEWS = Views(crop_share=0.3, gain_db=3, equalise_db=3, num_time_masks=1, time_mask_share=0.1, roll_frames=200)


@dataclass(frozen=True)
class Pretraining:
    """One objective: its system, words for the table, and how long it may train."""

    words: str
    system: str
    config: Any
    epochs: int
    batch: int


PRETRAININGS = {
    "ssast": Pretraining("SSAST", "ssast", SsastConfig(**ENCODER), 12, 32),
    "published": Pretraining("VCR-AST as published", "vcr_ast", VcrAstConfig(**ENCODER), 4, 12),
    "improved": Pretraining(
        "VCR-AST, improved",
        "vcr_ast",
        VcrAstConfig(
            **ENCODER,
            hidden_share=0.75,
            hidden_patches="dropped",
            freq_mask_bins=16,
            time_mask_frames=50,
            views=Views(crop_share=0.5, gain_db=6, equalise_db=6),
            expander_width=512,
            invariance_weight=10.0,
        ),
        20,
        128,
    ),
}


def recipe(*, seeds: tuple[int, ...] = (0, 1, 2), epochs: int = 30) -> list[Run]:
    """Return, per seed and fold: random weights and three pre-trainings, frozen under an SVM and fine-tuned."""
    runs = []
    for seed in seeds:
        for group, folds in HELD_OUT.items():
            starts: dict[str, str | None] = {"scratch": None}
            for kind in PRETRAININGS:
                runs.append(_pretraining(kind, group, seed))
                starts[kind] = runs[-1].name
            for fold in folds:
                for kind, start in starts.items():
                    runs.append(_run(kind, fold, seed, epochs, start, classifier="svm"))
                    runs.append(_run(kind, fold, seed, epochs, start))
                runs.append(_run("scratch", fold, seed, epochs, None, plain=True))
    return runs


def tiny() -> list[Run]:
    """Return one fold for a few epochs."""
    return [_run("scratch", "1", 0, 4, None)]


def _pretraining(kind: str, group: str, seed: int) -> Run:
    what = PRETRAININGS[kind]
    train_folds = tuple(f for f in "12345" if f not in HELD_OUT[group])
    return Run(
        name=f"pretrain-{kind}-{group}-{seed}",
        system=what.system,
        config=what.config,
        processor=PROCESSOR,
        tasks=(PretrainingConfig("pretraining"),),
        data=Data(
            train=(
                Source(corpus="esc10", options=corpus_options("esc10"), where={"fold": train_folds}),
                Source(corpus="emodb", options=corpus_options("emodb4", "emodb") | {"strict": False}),
                Source(corpus="sound_scenes", where={"question": "last"}),
            ),
            loading=Loading(modalities=("audio",)),
        ),
        optim=Optim(
            lr=1e-3,
            betas=(0.9, 0.98),
            weight_decay=0.05,
            schedule="cosine",
            warmup_share=0.1,
            group_rates={"pretraining_heads": 2.0},
        ),
        budget=Budget(
            epochs=what.epochs,
            batch_s=10_000,
            batch_clips=what.batch,
            by_length=False,
            evaluate_epochs=what.epochs,
            select="last",
        ),
        precision="auto",
        seed=seed,
    )


def _run(
    kind: str, fold: str, seed: int, epochs: int, start: str | None, *, classifier: str = "none", plain: bool = False
) -> Run:
    """Return a frozen or fine-tuned run on one fold; ``plain`` has no augmentation at all."""
    (task,) = find_protocol(PROTOCOL).tasks
    assert isinstance(task, ClassificationConfig)
    frozen, what = classifier != "none", PRETRAININGS.get(kind)
    words = f"after {what.words}" if what else "random weights" if frozen else "from scratch"
    loading = Loading(modalities=("audio",)) if plain else Loading(modalities=("audio",), views=FINE_VIEWS, mixup=0.3)
    config = what.config if what else AstConfig(**ENCODER)
    data = Data.of_protocol(PROTOCOL, fold, options=corpus_options("esc10"), loading=loading)
    if not frozen:
        data = replace(data, train=data.train + data.selection, selection=())
    return Run(
        name=f"{'frozen' if frozen else 'plain' if plain else 'tuned'}-{kind}-{fold}-{seed}",
        row=f"{'frozen + SVM' if frozen else 'fine-tuned'}, {words}{', no augmentation' if plain else ''}",
        system=what.system if what else "ast",
        config=config if frozen else replace(config, keep_patches=0.5),
        processor=PROCESSOR,
        tasks=(replace(task, norm="layer", label_smoothing=0.1),),
        data=data,
        optim=Optim(lr=1e-3, weight_decay=0.05, schedule="cosine"),
        budget=Budget(epochs=epochs, batch_s=10_000, batch_clips=16, evaluate_epochs=epochs, select="last"),
        init_from=start,
        frozen_classifier=classifier,
        precision="auto",
        seed=seed,
    )
