"""CTAL's tables 1 to 4 under any protocol: its ablations and its baselines, from the same parts, of one size.

    sonolex table ctal4 --protocol tonewords_all --processes 2 --out runs/table4
    sonolex table ctal4 --protocol fsdd_verification_with_words --out runs/table3

Rows that the protocol cannot fill are left out: those that need its words, or fuse two modalities, where it has none.
Every row is pre-trained on ToneWords with its transcripts (``--pretrain librispeech`` as published), if it has an
objective, and fine-tuned alike; for FSDD's verification with EMO-DB's speakers and espeak's voices too. Transformers
are as large as CTAL within one per cent: their feed-forward layers are widened or narrowed; the table prints the
counts. ``--figure fractions`` is figures 2 and 3: shares of the labels, another draw with each seed, as many steps with
each. Figure 4, ten speakers without fine-tuning, is `python -m benchmarks speakers` on the pre-trainings.

The same command goes on where it was stopped; several of them, or ``--processes``, share the runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import torch

from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.data.manifest import Manifest
from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig
from sonolex.protocols.base import Protocol, find_fold, find_protocol
from sonolex.recipes.base import other_speakers, protocol_options
from sonolex.systems.base import count_parameters, system_type
from sonolex.tasks.base import TaskConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.verification import VerificationConfig
from sonolex.train.manifests import protocol_manifest
from sonolex.train.run import Budget, Data, Optim, Run, Source

AGAINST = "CTAL"
PUBLISHED = {
    "CTAL-BASE": "IEMOCAP WA .7286, UA .7370; MOSEI Acc2 .8036, F1 .8055, MAE .6061, Corr .6828; EER .0194",
    "no pre-training": "WA .7004, UA .7110; Acc2 .7804, F1 .7809, MAE .6654, Corr .6086; EER .0366",
    "(a) less pre-training": "WA .7262, UA .7386; Acc2 .8127, F1 .8150, MAE .6050, Corr .6804; EER .0204",
    "(b) no MLM": "WA .7077, UA .7185; Acc2 .7834, F1 .7842, MAE .6629, Corr .6096; EER .0244",
    "(c) no MCAM": "WA .7080, UA .7171; Acc2 .7812, F1 .7809, MAE .6442, Corr .6440; EER .0327",
    "(d) no orthogonal fusion": "WA .7338, UA .7444; Acc2 .7948, F1 .7939, MAE .6035, Corr .6832; EER .0176",
    "(e) text outputs only": "WA .6497, UA .6586; Acc2 .7804, F1 .7795, MAE .6235, Corr .6639",
    "(f) audio outputs only": "WA .7315, UA .7412; Acc2 .7989, F1 .7915, MAE .6065, Corr .6750; EER .0190",
    "(g) unimodal pre-training": "WA .7116, UA .7270; Acc2 .7820, F1 .7834, MAE .6323, Corr .6527; EER .0306",
    "Mockingjay alone": "WA .5505, UA .5672; Acc2 .6887, F1 .7199, MAE .8056, Corr .3556; EER .0551",
    "RoBERTa alone": "WA .6377, UA .6411; Acc2 .7451, F1 .7412, MAE .6598, Corr .5760",
    "LXMERT-style": "WA .7145, UA .7222; Acc2 .7749, F1 .7740, MAE .6405, Corr .6430; EER .0320",
    "VisualBERT-style": "WA .6778, UA .6848; Acc2 .7769, F1 .7722, MAE .6621, Corr .6243; EER .0375",
    "LSTM alignment": "WA .6900, UA .7014",
    "MDRE": "WA .6702, UA .6764",
    "MHA": "WA .6780, UA .6880",
    "MulT (A+L)": "Acc2 .7966, F1 .8008, MAE .6367, Corr .6292",
    "GE2E": "EER .0379",
    "RawNet": "EER .0253",
}
"""CTAL (Li et al., EMNLP 2021), tables 1 to 4."""


@dataclass(frozen=True)
class Cell:
    """One row: a system, what it changes, and how it is pre-trained.

    Attributes:
        depth: the row's number of layers, from CTAL's; None for the same.
        change: of the config in pre-training and fine-tuning; ``late`` only in fine-tuning.
        share: of the pre-training clips; 0 for none.
        inputs: changes of the processor's config.
        speakers: a row of table 3, for verification alone.
    """

    row: str
    system: str = "ctal"
    depth: Callable[[int], int] | None = None
    change: dict[str, Any] = field(default_factory=dict)
    late: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0
    inputs: dict[str, Any] = field(default_factory=dict)
    speakers: bool = False

    @property
    def name(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.row.lower()).strip("-")

    @property
    def pretraining(self) -> str:
        """A name that tells the pre-training of this row from that of others."""
        changes = "".join(f"-{n}-{v}" for n, v in (self.change | self.inputs).items() if n != "objectives")
        objectives = "".join(f"-{o}" for o in self.change.get("objectives", ()))
        return f"{self.system}{changes}{objectives}" + (f"-{self.share:g}" if self.share < 1 else "")


ROWS = (
    Cell("CTAL"),
    Cell("no pre-training", share=0.0),
    Cell("(a) three eighths of the pre-training", share=0.375),
    Cell("(b) no MLM", change={"objectives": ("mcam",)}),
    Cell("(c) no MCAM", change={"objectives": ("mlm",)}),
    Cell("(d) no orthogonal fusion, as printed", late={"orthogonal": "none"}),
    Cell("(d) as released: no maxima either", late={"orthogonal": "none", "max_pools": False}),
    Cell("(e) text outputs only", late={"fusion_streams": "text", "orthogonal": "none"}),
    Cell("(f) audio outputs only", late={"fusion_streams": "audio", "orthogonal": "none"}),
    Cell("(g) unimodal pre-training", "late_fusion"),
    Cell("Mockingjay alone", "mockingjay", lambda n: 3),
    Cell("Mockingjay alone, two derivatives", "mockingjay", lambda n: 3, inputs={"derivatives": 2}),
    Cell("RoBERTa alone", "roberta", lambda n: 2 * n),
    Cell("LXMERT-style", "lxmert", lambda n: n - 1),
    Cell("VisualBERT-style", "visualbert", lambda n: 2 * n),
    Cell("MDRE", "mdre", share=0.0),
    Cell("MHA", "multi_hop", share=0.0),
    Cell("LSTM alignment", "lstm_alignment", share=0.0),
    Cell("MulT (A+L)", "mult", share=0.0),
    Cell("GE2E", "ge2e", share=0.0, speakers=True),
    Cell("RawNet", "rawnet", share=0.0, speakers=True),
)
PRETRAINING = {"tonewords": ("tonewords_all", "unseen"), "librispeech": ("librispeech_verification", "official")}
"""Corpora with transcripts, and the protocol whose training part is used: train-960 of LibriSpeech is the paper's."""
MATCHED = ("ctal", "late_fusion", "lxmert", "visualbert", "mockingjay", "roberta")
FRACTIONS = (0.1, 0.25, 0.5, 1.0)  # of the labels; every seed draws its own
SENTENCE_VIEWS = Views(gain_db=6, num_mel_masks=1, mel_mask_bins=8)


@dataclass(frozen=True)
class Setting:
    """The fine-tuning of a protocol's rows, or of all protocols of a corpus, on two cores.

    Attributes:
        folds: where all protocols of the corpus have the same.
        others: recordings of other speakers that verification learns from too, and these speakers' names.
    """

    epochs: int
    folds: tuple[str, ...] = ()
    lr: float = 1e-3
    normalise: str = "utterance"
    views: Views = SENTENCE_VIEWS
    hop_ms: float = 12.5  # published
    others: Callable[[], tuple[tuple[Source, ...], tuple[str, ...]]] = lambda: ((), ())


VERIFICATION = Setting(10, normalise="level", views=Views(), hop_ms=25.0, others=other_speakers)
SETTINGS = {
    "tonewords": Setting(9, ("unseen",), hop_ms=25.0),
    "emodb": Setting(
        40, normalise="fixed", views=Views(speed=0.15, vtlp=0.1, gain_db=3, num_mel_masks=1, crop_share=0.2)
    ),
    "fsdd": Setting(15, normalise="level", views=Views()),
    "fsdd_verification": VERIFICATION,
    "fsdd_verification_with_words": VERIFICATION,
}


def recipe(
    *,
    protocol: str = "tonewords_all",
    size: str = "small",
    seeds: tuple[int, ...] = (0, 1, 2),
    rows: tuple[str, ...] = (),
    figure: str = "",
    pretrain: str = "tonewords",
    pretrain_epochs: int = 4,
    epochs: int = 0,
    strict: bool = True,
) -> list[Run]:
    """Return pre-trainings and fine-tunings of every row that the protocol can fill, per fold and seed.

    Args:
        size: "small" for two cores, or "base" as published.
        rows: only these, by their names in the table; default: all.
        figure: "" for the tables, "fractions" for shares of the labels (CTAL and CTAL without pre-training).
        pretrain: corpus of the pre-training, "tonewords" or "librispeech".
        epochs: of fine-tuning with all labels, smaller shares take as many steps; 0 is the protocol's own.
        strict: False takes a part of an official release.
    """
    if size not in ("small", "base") or figure not in ("", "fractions"):
        raise ValueError(f"`size` must be small or base and `figure` empty or fractions, but are {size!r}, {figure!r}.")
    if pretrain not in PRETRAINING:
        raise ValueError(f"`pretrain` must be one of {', '.join(PRETRAINING)}, but is {pretrain!r}.")
    unknown = [r for r in rows if r not in {c.row for c in ROWS}]
    if unknown:
        raise ValueError(f"`rows` must be of {', '.join(c.row for c in ROWS)}, but has {unknown[0]!r}.")
    table = _Table(find_protocol(protocol), size, pretrain, pretrain_epochs, epochs, strict)
    cells = [c for c in ROWS if table.fills(c) and (not rows or c.row in rows)]
    if figure:
        cells = [c for c in cells if c.row in ("CTAL", "no pre-training")]
    runs: dict[str, Run] = {}
    for seed in seeds:
        for cell in cells:
            start = None
            if cell.share:
                run = table.pretraining(cell, seed)
                start = runs.setdefault(run.name, run).name
            for fold in table.fold_names:
                for share in FRACTIONS if figure else (None,):
                    run = table.finetuning(cell, fold, seed, start, share)
                    runs[run.name] = run
    return list(runs.values())


def tiny() -> list[Run]:
    """Return pre-training and fine-tuning of one row at a size that trains in seconds."""
    few: dict[str, Any] = {"seeds": (0,), "pretrain_epochs": 2, "epochs": 3, "rows": ("(g) unimodal pre-training",)}
    runs = recipe(protocol="tonewords_tone", **few)

    def small(source: Source) -> Source:
        return replace(source, options={"size": "tiny"})

    small_runs = []
    for run in runs:
        parts = {p: tuple(map(small, getattr(run.data, p))) for p in ("train", "selection", "report")}
        small_runs.append(replace(run, data=replace(run.data, **parts)))
    return small_runs


@dataclass(frozen=True)
class _Table:
    protocol: Protocol
    size: str
    pretrain: str
    pretrain_epochs: int
    epochs: int
    strict: bool = True

    @property
    def setting(self) -> Setting:
        named = SETTINGS.get(self.protocol.name) or SETTINGS.get(self.protocol.corpus)
        return named or Setting(20, normalise="fixed")

    @property
    def is_verification(self) -> bool:
        return self.protocol.tasks[0].kind == "verification"

    def fills(self, cell: Cell) -> bool:
        """Return whether the protocol has the row's inputs and is of its kind, and the row does not repeat CTAL."""
        reads, streams = "text" in self.protocol.modalities, cell.late.get("fusion_streams")
        words_alone = cell.system == "roberta" or streams == "text"
        if words_alone and (self.is_verification or not reads):
            return False
        if not reads and cell.system == "ctal" and cell.late and cell.late.get("max_pools", True):
            return False  # without words nothing is fused: it would be CTAL's row again
        return self.is_verification or not cell.speakers

    @property
    def options(self) -> dict[str, Any]:
        return protocol_options(self.protocol.corpus, strict=self.strict)

    @cached_property
    def fold_names(self) -> tuple[str, ...]:
        """Names of the protocol's folds."""
        return self.setting.folds or tuple(fold.name for fold in self.protocol.folds(self.manifest))

    @cached_property
    def manifest(self) -> Manifest:
        """The protocol's whole corpus."""
        return protocol_manifest(self.protocol, tuple(self.options.items()))

    def processor(self, cell: Cell) -> Any:
        rate_hz = 8_000 if self.protocol.corpus == "fsdd" else 16_000
        if cell.system == "rawnet":
            return SpeechAndLettersConfig(rate_hz=rate_hz, max_frames=1000, normalise=True)
        sizes = {"window_ms": 32.0, "fft_samples": 512, "num_mels": 64} if rate_hz == 8_000 else {}
        config = LogMelAndTokensConfig(rate_hz=rate_hz, max_frames=1600, max_tokens=128, vocab_size=500, **sizes)
        return replace(config, normalise=self.setting.normalise, hop_ms=self.setting.hop_ms, **cell.inputs)

    def config(self, cell: Cell, *, late: bool) -> Any:
        kind = system_type(cell.system)
        changes = cell.change | (cell.late if late else {})
        if cell.system not in MATCHED:
            config, _ = kind.starter(num_clips=1000 if self.size == "small" else 100_000, longest_s=10.0)
            return replace(config, **changes)
        config = sized(cell, self.size)
        return replace(config, **changes, ffn_width=matched_ffn_width(config, cell.system, self.size))

    def pretraining(self, cell: Cell, seed: int) -> Run:
        protocol, fold = PRETRAINING[self.pretrain]
        options = protocol_options(find_protocol(protocol).corpus)
        source = Source(protocol=protocol, fold=fold, part="train", options=options, share=cell.share)
        modalities = system_type(cell.system).readable(("audio", "text"))
        return Run(
            name=f"pretrain-{cell.pretraining}-{seed}",
            system=cell.system,
            config=self.config(cell, late=False),
            processor=self.processor(cell),
            tasks=(PretrainingConfig("pretraining"),),
            data=Data(train=(source,), loading=Loading(modalities=modalities)),
            optim=Optim(lr=2e-3 if self.size == "small" else 5e-5),
            budget=Budget(
                epochs=round(self.pretrain_epochs / cell.share), batch_s=128, evaluate_epochs=1000, select="last"
            ),
            precision="auto",
            seed=seed,
        )

    def tasks(self, cell: Cell, fold: str) -> tuple[TaskConfig, ...]:
        """Return the protocol's tasks, verification with all training speakers.

        GE2E learns by its own loss, and its vectors are only scored by the task.
        """
        tasks = self.protocol.tasks
        if isinstance(tasks[0], VerificationConfig):
            speakers = tasks[0].classes
            if not speakers:
                train = find_fold(self.protocol, self.manifest, fold).train
                speakers = tuple(sorted(set(train.column(tasks[0].label))))
            tasks = (replace(tasks[0], classes=speakers + self.setting.others()[1]),)
        if cell.system != "ge2e":
            return tasks
        return (*(replace(task, weight=0.0) for task in tasks), PretrainingConfig("pretraining"))

    def finetuning(self, cell: Cell, fold: str, seed: int, start: str | None, share: float | None) -> Run:
        protocol, setting = self.protocol, self.setting
        options = self.options
        labelled = (Source(protocol=protocol.name, fold=fold, options=options), *setting.others()[0])
        learned = tuple(replace(source, share=share or 1.0, draw=seed) for source in labelled)
        modalities = system_type(cell.system).readable(protocol.modalities)
        views = Views() if cell.system == "rawnet" else setting.views
        return Run(
            name=f"{cell.name}-{fold}-{seed}{f'-{share:g}' if share else ''}",
            row=f"{cell.row}, {100 * share:g} % of labels" if share else cell.row,
            system=cell.system,
            config=self.config(cell, late=True),
            processor=self.processor(cell),
            tasks=self.tasks(cell, fold),
            data=Data.of_protocol(
                protocol.name,
                fold,
                options=options,
                train=learned,
                loading=Loading(modalities=modalities, views=views),
            ),
            optim=Optim(lr=setting.lr if self.size == "small" else 1e-5, weight_decay=0.05, schedule="cosine"),
            budget=Budget(
                epochs=round((self.epochs or setting.epochs) / (share or 1.0)),
                batch_s=128,
                batch_clips=64,
                evaluate_epochs=1000,
                select="last",
            ),
            init_from=start,
            precision="auto",
            seed=seed,
        )


def sized(cell: Cell, size: str) -> Any:
    """Return the config of a row's transformer, with its number of layers for CTAL of this size."""
    kinds: list[Any] = [system_type(name).config_type for name in (cell.system, "ctal")]
    config, ctal = (kind.tiny() if size == "small" else kind() for kind in kinds)
    return replace(config, num_layers=cell.depth(ctal.num_layers) if cell.depth else ctal.num_layers)


@lru_cache(maxsize=64)
def matched_ffn_width(config: Any, system: str, size: str) -> int:
    """Return the width of feed-forward layers at which a system has as many parameters in layers as CTAL of this size.

    Embeddings and heads are left out: they depend on inputs and outputs alone.
    """
    wanted = num_in_layers("ctal", sized(ROWS[0], size))
    narrow, wide = (num_in_layers(system, replace(config, ffn_width=n)) for n in (8, 16))
    return max(8, 8 + round(8 * (wanted - narrow) / (wide - narrow)))


def num_in_layers(system: str, config: Any) -> int:
    """Return the number of parameters in a system's layers."""
    with torch.device("meta"):
        built = system_type(system)(config)  # type: ignore[call-arg]
    return sum(count_parameters(part) for name, part in built.named_children() if name.endswith("_layers"))
