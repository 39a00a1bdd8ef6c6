"""The settings that a recipe fills in: everything that a result depends on, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sonolex.configs import one_of
from sonolex.data.loader import Loading
from sonolex.data.sampler import BALANCES
from sonolex.processors.base import ProcessorConfig
from sonolex.systems.base import SystemConfig
from sonolex.tasks.base import TaskConfig


@dataclass(frozen=True)
class Source:
    """Clips from somewhere: a manifest file, a corpus, or one part of a protocol's fold.

    Attributes:
        manifest: path of a manifest; or
        corpus: module name in ``data/corpora`` with ``options`` for its ``prepare``; or
        protocol, fold, part: one part of a fold; ``options`` go to the protocol's corpus.
        where: column values that rows must have, e.g. ``{"split": "train"}``.
        share, draw: only this share of the clips, chosen by clip id and draw; a smaller share is part of a larger one.
        rename: columns to copy under another name, e.g. ``{"keyword": "digit"}``.
    """

    manifest: str | None = None
    corpus: str | None = None
    protocol: str | None = None
    fold: str | None = None
    part: str = "train"
    options: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0
    draw: int = 0
    rename: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if sum(v is not None for v in (self.manifest, self.corpus, self.protocol)) != 1:
            raise ValueError("a source must name exactly one of `manifest`, `corpus` and `protocol`.")
        if not 0 < self.share <= 1:
            raise ValueError(f"`share` must be above 0 and at most 1, but is {self.share}.")


@dataclass(frozen=True)
class Data:
    """Which clips train, select and report, and how they are read.

    ``protocol`` and ``fold`` give the result its fingerprint; without them ``report`` scores carry none.
    ``allow_heard_sources`` allows to report on recordings (``source_id``) that ``init_from`` was pre-trained on.
    ``also_report`` are sets of modalities with which the report part is scored again, each a row of its own: to test a
    model of audio and words on words alone, or one trained on words on audio.
    """

    train: tuple[Source, ...]
    selection: tuple[Source, ...] = ()
    report: tuple[Source, ...] = ()
    protocol: str | None = None
    fold: str | None = None
    loading: Loading = field(default_factory=Loading)
    allow_heard_sources: bool = False
    also_report: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.also_report and not self.report:
            raise ValueError("`also_report` must be empty without `report`, but is not.")

    def asked_with(self, modalities: tuple[str, ...]) -> Loading:
        """Return the settings that read the report part for one of ``also_report``."""
        return replace(self.loading, modalities=modalities)

    @classmethod
    def of_protocol(cls, protocol: str, fold: str, *, options: Mapping[str, Any] | None = None, **changes: Any) -> Data:
        """Return the three parts of a fold; ``changes`` replace fields, e.g. ``loading`` or ``train``."""
        sources = {p: Source(protocol=protocol, fold=fold, part=p, options=options or {}) for p in _PARTS}
        values: dict[str, Any] = {p: (s,) for p, s in sources.items()} | {"protocol": protocol, "fold": fold}
        return cls(**(values | changes))


@dataclass(frozen=True)
class Optim:
    """The optimiser and its schedule, in optimiser steps.

    Attributes:
        algorithm: "adamw", "radam" (SpectroBERT), or "lars" with ``betas[0]`` as its momentum (VICReg, VCR-AST).
        lr: peak learning rate.
        schedule: "linear" (BERT: warm-up, then to 0), "cosine", "constant" or "plateau" (halved as by
            torch's ReduceLROnPlateau, after more than ``plateau_patience`` evaluations in a row without improvement
            of the selection value), all after the warm-up.
        warmup_share: of all steps.
        clip_norm: of the global gradient; 0 for none.
        frozen: layer groups of the system that are not trained and stay in eval mode; "system" is all of them.
        trained_from: first epoch, counted from 1, in which a layer group is trained (gradual unfreezing, Howard & Ruder
            2018); until then it is as if frozen.
        group_rates: factor on the rate, by layer group; "heads" are the tasks' heads.
        epoch_decay, first_decayed_epoch: factor on the rate of each epoch from this one on, counted from 1 (AST on
            ESC-50: 0.85 from epoch 6); 1 for none.
        layer_decay: factor on the rate from each of the system's layer groups to the one before it; 1 for none.
    """

    lr: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    schedule: str = "linear"
    warmup_share: float = 0.07
    clip_norm: float = 1.0
    frozen: tuple[str, ...] = ()
    trained_from: Mapping[str, int] = field(default_factory=dict)
    group_rates: Mapping[str, float] = field(default_factory=dict)
    epoch_decay: float = 1.0
    first_decayed_epoch: int = 1
    layer_decay: float = 1.0
    algorithm: str = "adamw"
    plateau_patience: int = 2

    def __post_init__(self) -> None:
        one_of("algorithm", self.algorithm, ("adamw", "radam", "lars"))
        one_of("schedule", self.schedule, ("linear", "cosine", "constant", "plateau"))
        if not (self.lr > 0 and 0 <= self.warmup_share < 1 and self.clip_norm >= 0 and 0 < self.layer_decay <= 1):
            raise ValueError(
                "`lr` must be positive, `warmup_share` in [0, 1), `clip_norm` at least 0 and `layer_decay` in (0, 1]."
            )


@dataclass(frozen=True)
class Budget:
    """How long to train, in what batches, and which checkpoint counts.

    Attributes:
        epochs, max_steps: whichever ends first; 0 max_steps is no limit.
        batch_s: seconds of padded audio in one batch over all processes.
        batch_clips: most clips in one batch.
        by_length: clips of similar length share a batch, which pads least; False draws batches at random, for
            objectives that compare the clips of a batch (else those of one corpus meet only each other).
        balance, balance_by: which clips an epoch has by their class in column ``balance_by``: see
            `sonolex.data.sampler.Sampler`.
        accumulate: batches an optimiser step averages over (as one batch of their sum).
        evaluate_epochs: evaluate on the selection part after this many epochs.
        checkpoint_steps: also save this often within an epoch; 0 only at evaluations.
        journal_steps: losses are read from the device and written this many steps at a time; it changes no result.
        select: "best" (on the selection part) or "last" checkpoint for the report.
        select_by: metric that "best" means, e.g. "macro_f1"; default: the mean of the tasks' primary metrics,
            where a pre-training counts minus the weighted total of its own loss terms.
        patience: evaluations without improvement before stopping early; 0 never.
    """

    epochs: int = 10
    max_steps: int = 0
    batch_s: float = 64.0
    batch_clips: int = 64
    by_length: bool = True
    balance: str = "none"
    balance_by: str = ""
    accumulate: int = 1
    evaluate_epochs: int = 1
    checkpoint_steps: int = 0
    journal_steps: int = 10
    select: str = "best"
    select_by: str = ""
    patience: int = 0

    def __post_init__(self) -> None:
        one_of("select", self.select, ("best", "last"))
        one_of("balance", self.balance, BALANCES)
        if (self.balance == "none") != (not self.balance_by):
            raise ValueError("`balance` and `balance_by` must be given together.")
        if min(self.epochs, self.accumulate, self.evaluate_epochs, self.journal_steps) < 1:
            raise ValueError("`epochs`, `accumulate`, `evaluate_epochs` and `journal_steps` must be at least 1.")


@dataclass(frozen=True)
class Run:
    """One training, complete, as a recipe returns it.

    Attributes:
        name: folder name of the run.
        system, config, processor: module name in ``systems`` and its configs.
        tasks: what to train together.
        init_from: run folder, model folder or ``hub:ORG/NAME`` whose weights and tokenizer to start from; ``processor``
            must be its own. A name of an earlier run of the same recipe means that run's folder.
        pretrained: published checkpoints (local folders or ``hub:ORG/NAME``) by the part of the system they fill, e.g.
            ``{"bert": "hub:google-bert/bert-base-uncased"}``; not together with ``init_from``.
        precision: "32-true", "bf16-mixed", "16-mixed" (fp16 with scaled gradients), or "auto": bf16 where the device
            has it, fp16 on CUDA devices without, else fp32.
        seed: of weights, order, masks and views.
        frozen_classifier: "none" trains; "linear" (logistic regression), "svm", "nearest" (neighbours by cosine) and
            "noisy" (a small network, for vectors of another modality than it learns from) leave the system as it is
            and fit a classifier to its pooled vectors (`sonolex.train.probing`).
        row: name of the table row this run belongs to; folds and seeds of one row are pooled. Default: the name.
    """

    name: str
    system: str
    config: SystemConfig
    processor: ProcessorConfig
    tasks: tuple[TaskConfig, ...]
    data: Data
    optim: Optim = field(default_factory=Optim)
    budget: Budget = field(default_factory=Budget)
    init_from: str | None = None
    pretrained: Mapping[str, str] = field(default_factory=dict)
    precision: str = "32-true"
    seed: int = 0
    frozen_classifier: str = "none"
    row: str = ""

    def __post_init__(self) -> None:
        one_of("frozen_classifier", self.frozen_classifier, ("none", "linear", "svm", "nearest", "noisy"))
        if self.pretrained and self.init_from is not None:
            raise ValueError(f"`pretrained` must be empty with `init_from`, but is not (run {self.name!r}).")
        names = [t.name for t in self.tasks]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"`tasks` must be at least one, with different names, but are {names}.")
        one_of("precision", self.precision, ("auto", "32-true", "bf16-mixed", "16-mixed"))


_PARTS = ("train", "selection", "report")
