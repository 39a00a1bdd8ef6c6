"""The tables and figures of VCR-AST's chapter 5 on ESC-50, one command each.

    sonolex train vcr_ast_thesis --table systems --out runs/thesis && sonolex compare runs/thesis

Cost: a published-size cell (AST-Base, 100 epochs, batch 12) is hours on one GPU; ``--size tiny --epochs 5`` shows the
mechanism on a CPU. Finished cells are skipped, so the command may be stopped and repeated. The published numbers
stand beside ours in the table (protocol ``esc50``); a cell pre-trains on the training part of the fold it is tested on.

Tables: ``systems`` (5.3; 5.2, time a clip, with ``compare --times``), ``size`` (5.4), ``masked`` (figure 5.5),
``batch`` (figure 5.6), ``expander`` (section 5.6.4).
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
from sonolex.systems.ssast import SsastConfig
from sonolex.systems.vcr_ast import VcrAstConfig
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

CORPORA = {"esc50": ("esc50", "ESC-50", "ESC-50-master"), "esc10": ("esc10",)}
PROCESSOR = SpectrogramConfig(mean=-6.6268077, std=5.358466, frames="fixed", max_frames=512)
PATCH, FRAME = Grid(), Grid(frames=2, bins=128)
FINE_VIEWS = Views(
    num_mel_masks=1,
    mel_mask_bins=24,
    num_time_masks=1,
    time_mask_share=96 / 512,
    log_noise=0.2 * PROCESSOR.std,
    roll_frames=10,
)
PRETRAIN_OPTIM = {
    "ssast": Optim(lr=1e-4, betas=(0.95, 0.999), weight_decay=5e-7, schedule="plateau", clip_norm=0.0),
    "vcr_ast": Optim(algorithm="lars", lr=1e-4, weight_decay=1e-6, schedule="plateau", clip_norm=0.0),
}


@dataclass(frozen=True)
class Cell:
    """One pre-training of a table: a row's name, a system, and what it changes."""

    row: str
    system: str
    grid: Grid
    batch: int = 12
    size: str = ""
    changes: tuple[tuple[str, Any], ...] = ()


def _vcr(row: str, grid: Grid = PATCH, *, batch: int = 12, size: str = "", **changes: Any) -> Cell:
    return Cell(row, "vcr_ast", grid, batch, size, tuple(changes.items()))


TABLES = {
    "systems": (
        Cell("SSAST-Patch", "ssast", PATCH),
        Cell("SSAST-Frame", "ssast", FRAME),
        _vcr("VCR-AST-Patch"),
        _vcr("VCR-AST-Frame", FRAME),
    ),
    "size": (_vcr("VCR-AST-Base", size="base"), _vcr("VCR-AST-Small", size="small")),
    "masked": (_vcr("100 of 256 patches hidden", hidden_share=100 / 256), _vcr("250 of 256 patches hidden")),
    "batch": (_vcr("batch 6", batch=6), _vcr("batch 12")),
    "expander": (_vcr("expander 1024", expander_width=1024), _vcr("expander 4096")),
}


def recipe(
    *,
    table: str = "systems",
    corpus: str = "esc50",
    folds: tuple[str, ...] = ("1", "2", "3", "4", "5"),
    seeds: tuple[int, ...] = (0,),
    size: str = "base",
    epochs: int = 100,
    fine_epochs: int = 50,
) -> list[Run]:
    """Return a pre-training and a fine-tuning per cell, fold and seed of one table."""
    if table not in TABLES:
        raise ValueError(f"`table` must be one of {', '.join(TABLES)}, but is {table!r}.")
    if corpus not in CORPORA:
        raise ValueError(f"`corpus` must be one of {', '.join(CORPORA)}, but is {corpus!r}.")
    runs = []
    for number, cell in enumerate(TABLES[table]):
        config = _config(cell, cell.size or size)
        for fold in folds:
            for seed in seeds:
                name = f"{table}-{number}-fold{fold}-seed{seed}"
                runs.append(_pretraining(f"pretrain-{name}", cell, config, corpus, fold, seed, epochs))
                runs.append(_finetuning(name, cell, config, corpus, fold, seed, fine_epochs))
    return runs


def tiny() -> list[Run]:
    """Return one cell on one fold of ESC-10, at a size that trains in seconds."""
    runs = recipe(table="batch", corpus="esc10", folds=("1",), size="tiny", epochs=1, fine_epochs=2)[:2]
    small: dict[str, Any] = {"num_layers": 1, "width": 48, "num_heads": 2, "ffn_width": 96, "expander_width": 64}
    configs = [replace(r.config, **small) for r in runs]
    return [replace(r, config=c, budget=replace(r.budget, max_steps=12)) for r, c in zip(runs, configs, strict=True)]


def _config(cell: Cell, size: str) -> Any:
    kind: Any = SsastConfig if cell.system == "ssast" else VcrAstConfig
    sizes = {"base": kind.base, "small": kind.small, "tiny": kind.tiny}
    if size not in sizes:
        raise ValueError(f"`size` must be one of {', '.join(sizes)}, but is {size!r}.")
    sampler = "uniform" if cell.grid == FRAME or cell.system == "vcr_ast" else "cluster"
    options = {"grid": cell.grid, "table_frames": 512, "hidden_share": 250 / 256, "sampler": sampler}
    return sizes[size](**(options | dict(cell.changes)))


def _pretraining(name: str, cell: Cell, config: Any, corpus: str, fold: str, seed: int, epochs: int) -> Run:
    options = corpus_options(*CORPORA[corpus])
    return Run(
        name=name,
        row=f"pre-training, {cell.row}",
        system=cell.system,
        config=config,
        processor=PROCESSOR,
        tasks=(PretrainingConfig("pretraining"),),
        data=Data(
            train=(Source(protocol=corpus, fold=fold, part="train", options=options),),
            selection=(Source(protocol=corpus, fold=fold, part="selection", options=options),),
            loading=Loading(modalities=("audio",)),
        ),
        optim=PRETRAIN_OPTIM[cell.system],
        budget=Budget(epochs=epochs, batch_s=10_000, batch_clips=cell.batch, select="last"),
        precision="auto",
        seed=seed,
    )


def _finetuning(name: str, cell: Cell, config: Any, corpus: str, fold: str, seed: int, epochs: int) -> Run:
    (task,) = find_protocol(corpus).tasks
    assert isinstance(task, ClassificationConfig)
    return Run(
        name=name,
        row=cell.row,
        system=cell.system,
        config=config,
        processor=PROCESSOR,
        tasks=(replace(task, norm="layer"),),
        data=Data.of_protocol(
            corpus,
            fold,
            options=corpus_options(*CORPORA[corpus]),
            loading=Loading(modalities=("audio",), views=FINE_VIEWS),
        ),
        optim=Optim(
            lr=1e-4,
            betas=(0.95, 0.999),
            weight_decay=5e-7,
            schedule="constant",
            warmup_share=0.0,
            clip_norm=0.0,
            epoch_decay=0.85,
            first_decayed_epoch=6,
        ),
        budget=Budget(epochs=epochs, batch_s=10_000, batch_clips=12),
        init_from=f"pretrain-{name}",
        precision="auto",
        seed=seed,
    )
