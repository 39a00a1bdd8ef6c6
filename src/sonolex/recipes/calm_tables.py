"""CALM's tables, one command each: what pre-training, alignment, modalities, labels and patches are worth.

    sonolex train calm_tables --table ablation --corpus mosei --size base --out runs/calm2 \
        --bert hub:google-bert/bert-base-uncased
    sonolex compare runs/calm2

Tables: ``ablation`` (2), ``alpha`` (5, 6), ``modality`` (7, 8), ``labels`` (9, 10), ``patches`` (11, 12), and two that
are not the paper's: ``neighbours`` (blocks that share frames, or none) and ``language_model`` (with ``--bert``: its
weights against random ones, with few and with all labels). Corpora: ``mosei`` (six emotions), ``msp`` (MSP-Podcast's
primary emotion), ``tonewords`` (tone, sentiment and sarcasm, for two cores with ``--size small``). The published
numbers stand beside ours. Finished runs are skipped, so the command may be stopped and repeated. Cost: published
sizes are hours on one GPU; a ToneWords row is minutes on one core.

Every row with pre-training has two stages: *align* and then *hide*, both on the training part ("out of domain": also
the other corpus's). Fine-tuning drops a modality from some clips, so that one model can be scored with audio, with
words, and with both: three rows of the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sonolex.audio.patches import Grid
from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.protocols.base import find_protocol
from sonolex.recipes.base import corpus_options
from sonolex.systems.calm import PATCHES, CalmConfig, CalmProcessorConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source


@dataclass(frozen=True)
class Corpus:
    """The training setup of a corpus: its protocol, possible folders, the paper's optimiser and batch, patches."""

    protocol: str
    fold: str
    folders: tuple[str, ...]
    other: str | None
    lr: float
    batch: int
    epochs: int
    grid: Grid = PATCHES


@dataclass(frozen=True)
class Cell:
    """One row: its name, which stages it has, and what it changes.

    ``grid`` None: the corpus's patches. ``weights``: those of ``bert`` are used.
    """

    row: str
    stages: tuple[str, ...] = ("align", "hide")
    modalities: tuple[str, ...] = ("audio", "text")
    share: float = 1.0
    grid: Grid | None = None
    text_weight: float = 0.25
    elsewhere: bool = False
    neighbour_gap: int = 1
    weights: bool = True

    @property
    def marks(self) -> str:
        """A suffix that tells the pre-training of this row from that of others."""
        g = self.grid
        marks = "" if g is None else f"-{g.frames}x{g.bins}"
        marks += "-audio" if self.alone else ""
        marks += "-elsewhere" if self.elsewhere else ""
        marks += "-only" if self.stages == ("hide",) else ""
        marks += f"-gap{self.neighbour_gap}" if self.neighbour_gap > 1 else ""
        return marks if self.weights else marks + "-random"

    @property
    def alone(self) -> bool:
        """Whether pre-training never reads words."""
        return self.modalities == ("audio",) and self.text_weight == 0


CORPORA = {
    "mosei": Corpus("mosei_emotion", "standard", ("CMU-MOSEI", "mosei"), "msp", 5e-5, 64, 50),
    "msp": Corpus("msp_podcast_primary", "official", ("MSP-Podcast", "msp_podcast"), "mosei", 1e-4, 128, 20),
    # Whole spectra show at once whether a voice rises or falls, 10 × 16 patches late or never.
    "tonewords": Corpus("tonewords_all", "unseen", (), None, 1e-3, 32, 10, Grid(2, 64, num_mels=64)),
}
TABLES = {
    "ablation": (
        Cell("no pre-training", stages=()),
        Cell("multimodal pre-training only (no CALP)", stages=("hide",)),
        Cell("alignment only (no stage 2)", stages=("align",)),
        Cell("full"),
        Cell("full, with out-of-domain data", elsewhere=True),
    ),
    "alpha": (
        Cell("A, α = 0", modalities=("audio",), text_weight=0.0),
        Cell("A, α = 0.25", modalities=("audio",)),
    ),
    "modality": (Cell("A+L"), Cell("A", modalities=("audio",)), Cell("L", modalities=("text",))),
    "labels": tuple(Cell(f"full, {100 * share:g} % of labels", share=share) for share in (0.2, 0.4, 0.6, 0.8, 1.0)),
    "patches": (
        Cell("patches 2 × 64, stride 1 × 64", grid=Grid(2, 64, 1, 64, num_mels=64)),
        Cell("patches 20 × 8, stride 10 × 4", grid=Grid(20, 8, 10, 4, num_mels=64)),
        Cell("patches 10 × 16, stride 5 × 8", grid=PATCHES),
    ),
    "neighbours": (Cell("neighbours share 20 of 50 frames"), Cell("neighbours share none", neighbour_gap=2)),
    "language_model": tuple(
        Cell(f"{words}, {100 * share:g} % of labels", share=share, weights=weights)
        for share in (0.2, 1.0)
        for words, weights in (("the language model's weights", True), ("its size, random weights", False))
    ),
}
SMALL_SPECTRAN: dict[str, Any] = {"spectran_width": 64, "spectran_heads": 4}
SMALL: dict[str, Any] = {"num_layers": 3, "width": 128, "num_heads": 4, "ffn_width": 512, "attention_dropout": 0.0}
SMALL |= SMALL_SPECTRAN
LANGUAGE_MODEL_LR = 1e-4
ONE_MODALITY = 0.15  # chance that a fine-tuned clip loses its audio, and that it loses its words


def recipe(
    *,
    table: str = "ablation",
    corpus: str = "mosei",
    size: str = "tiny",
    bert: str = "",
    seeds: tuple[int, ...] = (0,),
    align_epochs: int = 20,
    hide_epochs: int = 20,
    epochs: int = 0,
) -> list[Run]:
    """Return the stages and fine-tunings of one table, per seed.

    Args:
        size: "tiny" or "base" as published, or "small" (3 layers of 128) for two cores.
        bert: checkpoint (folder or hub:ORG/NAME) that the language model starts from; random weights without.
        epochs: of fine-tuning; 0 is the corpus's own.
    """
    for name, value, allowed in (
        ("table", table, TABLES),
        ("corpus", corpus, CORPORA),
        ("size", size, ("tiny", "base", "small")),
    ):
        if value not in allowed:
            raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, but is {value!r}.")
    if table == "language_model" and not bert:
        raise ValueError(
            "`bert` must name a checkpoint (folder or hub:ORG/NAME) for table 'language_model', but is empty."
        )
    parts = _Parts(corpus, size, bert)
    runs: dict[str, Run] = {}
    for number, cell in enumerate(TABLES[table]):
        if cell.elsewhere and CORPORA[corpus].other is None:
            continue
        for seed in seeds:
            start: str | None = None
            for stage in cell.stages:
                run = parts.stage(stage, cell, seed, align_epochs if stage == "align" else hide_epochs, start)
                start = runs.setdefault(run.name, run).name
            run = parts.finetuning(f"{table}-{number}-{seed}", cell, seed, epochs, start)
            runs[run.name] = run
    return list(runs.values())


def tiny() -> list[Run]:
    """Return both stages and a fine-tuning on a few ToneWords, for a few steps."""
    runs = recipe(table="modality", corpus="tonewords", size="small", align_epochs=4, hide_epochs=6, epochs=4)[:3]
    sizes: dict[str, Any] = {"num_layers": 1, "width": 32, "num_heads": 2, "ffn_width": 64, "spectran_layers": 1}

    def small(source: Source) -> Source:
        return replace(source, options={"size": "tiny"})

    small_runs = []
    for run in runs:
        parts = {p: tuple(map(small, getattr(run.data, p))) for p in ("train", "selection", "report")}
        small_runs.append(replace(run, config=replace(run.config, **sizes), data=replace(run.data, **parts)))
    return small_runs


@dataclass(frozen=True)
class _Parts:
    corpus: str
    size: str
    bert: str

    def of(self, cell: Cell) -> CalmConfig:
        changes: dict[str, Any] = {"text_weight": cell.text_weight, "neighbour_gap": cell.neighbour_gap}
        return replace(self.config, grid=cell.grid or CORPORA[self.corpus].grid, **changes)

    def pretrained(self, cell: Cell, start: str | None) -> dict[str, str]:
        return {"bert": self.bert} if self.bert and cell.weights and start is None else {}

    @property
    def config(self) -> CalmConfig:
        if self.bert:
            few = SMALL_SPECTRAN if self.size == "small" else {}
            return CalmConfig.like(self.bert, max_tokens=256, **few)
        if self.size == "small":
            return CalmConfig(**SMALL)
        return CalmConfig.tiny() if self.size == "tiny" else CalmConfig.base()

    @property
    def processor(self) -> CalmProcessorConfig:
        # A longer window resolves the harmonics of a voice, which carry ToneWords' tones.
        vocabulary, window_ms = (400, 50.0) if self.corpus == "tonewords" else (8000, 25.0)
        return CalmProcessorConfig(
            vocab_size=vocabulary,
            tokenizer=self.bert or None,
            max_tokens=256,
            long_clip="cut",
            max_frames=6000,
            window_ms=window_ms,
            normalise="utterance" if self.corpus == "tonewords" else "fixed",
        )

    def optim(self, lr: float) -> Optim:
        """Return the optimiser. A checkpoint's layers, or random ones instead, move at the paper's rate at most."""
        names = ("embedding", *(f"layer_{i}" for i in range(self.config.num_layers))) if self.bert else ()
        return Optim(lr=lr, weight_decay=0.01, group_rates=dict.fromkeys(names, min(1.0, LANGUAGE_MODEL_LR / lr)))

    def source(self, corpus: str, part: str, share: float = 1.0) -> Source:
        c = CORPORA[corpus]
        options = corpus_options(*c.folders) if c.folders else {"size": "small"}
        return Source(protocol=c.protocol, fold=c.fold, part=part, options=options, share=share)

    def stage(self, stage: str, cell: Cell, seed: int, epochs: int, start: str | None) -> Run:
        corpus = CORPORA[self.corpus]
        train = [self.source(self.corpus, "train")]
        if cell.elsewhere and corpus.other is not None:
            train.append(self.source(corpus.other, "train"))
        aligning = stage == "align"
        return Run(
            name=f"{stage}{cell.marks}-{seed}",
            system="calm",
            config=replace(self.of(cell), stage=stage),
            processor=self.processor,
            tasks=(PretrainingConfig("pretraining"),),
            data=Data(
                train=tuple(train),
                selection=(self.source(self.corpus, "selection"),),
                loading=Loading(
                    modalities=("audio",) if cell.alone else ("audio", "text"),
                    views=Views(gain_db=6, num_mel_masks=1, mel_mask_bins=8) if self.size == "small" else Views(),
                ),
            ),
            optim=self.optim(1e-3 if self.size == "small" else 1e-4),
            budget=Budget(
                epochs=epochs,
                batch_s=10_000,
                batch_clips=corpus.batch if not aligning else 4 * corpus.batch,
                by_length=not aligning,
                evaluate_epochs=epochs,
                select="last",
            ),
            pretrained=self.pretrained(cell, start),
            init_from=start,
            precision="auto",
            seed=seed,
        )

    def finetuning(self, name: str, cell: Cell, seed: int, epochs: int, start: str | None) -> Run:
        corpus = CORPORA[self.corpus]
        both = cell.modalities == ("audio", "text")
        tasks = [replace(task, hidden=64) for task in find_protocol(corpus.protocol).tasks]  # type: ignore[call-arg]
        return Run(
            name=name,
            row=cell.row,
            system="calm",
            config=self.of(cell),
            processor=self.processor,
            tasks=tuple(tasks),
            data=Data(
                train=(self.source(self.corpus, "train", cell.share),),
                selection=(self.source(self.corpus, "selection"),),
                report=(self.source(self.corpus, "report"),),
                protocol=corpus.protocol,
                fold=corpus.fold,
                loading=Loading(
                    modalities=cell.modalities,
                    drop_audio=ONE_MODALITY if both else 0.0,
                    drop_text=ONE_MODALITY if both else 0.0,
                    views=Views(gain_db=6, num_mel_masks=1, mel_mask_bins=8) if self.size == "small" else Views(),
                ),
                also_report=(("audio",), ("text",)) if both else (),
            ),
            optim=self.optim(corpus.lr),
            budget=Budget(epochs=epochs or corpus.epochs, batch_s=10_000, batch_clips=corpus.batch),
            pretrained=self.pretrained(cell, start),
            init_from=start,
            precision="auto",
            seed=seed,
        )
