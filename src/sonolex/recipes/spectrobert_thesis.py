"""SpectroBERT's tables 5.1 to 5.3: pre-training × freezing × task, one command each.

    sonolex train spectrobert_thesis --task aqa_binary --pretrain none wavcaps --out runs/t51 \
        --bert hub:google-bert/bert-base-uncased
    sonolex compare runs/t51

Cost: a published-size row is hours on one GPU. Finished runs are skipped, so the command may be stopped and
repeated. The published numbers stand beside ours in the table. ``--size small`` with ``--task questions`` and
``--pretrain none captions`` is the same grid on ESC-10's sounds, at a size for two cores.

Tasks: ``aqa_binary`` (5.1), ``aqa_open`` (5.2), ``ser`` (5.3, RAVDESS by unseen actors), ``iemocap``, ``questions``
(ESC-10) and ``emodb`` (leave one speaker out). A fold's pre-training on captions never uses its test fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sonolex.audio.patches import Grid
from sonolex.audio.views import Views
from sonolex.configs import find_module
from sonolex.data.corpora.emodb import SPEAKERS
from sonolex.data.loader import Loading
from sonolex.protocols.base import find_protocol
from sonolex.recipes.base import corpus_options
from sonolex.systems.spectrobert import SpectroBertConfig, SpectroBertProcessorConfig, frozen_groups
from sonolex.tasks.base import TaskConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source


@dataclass(frozen=True)
class Task:
    """One table: its protocol, the folders its corpus may have, its folds and the thesis's freezing rows."""

    protocol: str
    folders: tuple[str, ...]
    folds: tuple[str, ...]
    presets: tuple[str, ...]


QUESTIONS = ("bin-frz", "bin-frz-nolast", "bin-frz-noaudio", "open-nofrz", "open-frz-nolast2")
EMOTION = ("ser-frz-nolast", "ser-frz-nolast-noaudio", "open-nofrz")
CLOTHO = ("ClothoAQA", "clotho_aqa")
TASKS = {
    "aqa_binary": Task("clotho_aqa_binary", CLOTHO, ("official",), QUESTIONS[:3]),
    "aqa_open": Task("clotho_aqa_open", CLOTHO, ("official",), ("open-nofrz", "open-frz-nolast", "open-frz-nolast2")),
    "ser": Task("ravdess_6fold", ("RAVDESS", "ravdess"), tuple("123456"), EMOTION),
    "iemocap": Task("iemocap4", ("IEMOCAP_full_release", "iemocap"), tuple("12345"), EMOTION),
    "questions": Task("esc10_questions", ("esc10",), tuple("12345"), QUESTIONS),
    "emodb": Task("emodb4_unseen_speakers", ("emodb4", "emodb"), SPEAKERS, EMOTION),
}
PRETRAININGS = {
    "wavcaps": ("wavcaps", ("WavCaps", "wavcaps")),
    "librispeech": ("librispeech", ("LibriSpeech", "librispeech")),
    "common_voice": ("common_voice", ("cv-corpus/en", "common_voice/en")),
    "captions": ("esc10_captions", ("esc10",)),
}
SMALL: dict[str, Any] = {"num_layers": 3, "width": 128, "num_heads": 4, "ffn_width": 512, "num_positions": 160}
SMALL |= {"conv_width": 32, "max_tokens": 24, "window_positions": 1000, "steps": "stacked", "attention_dropout": 0.0}
SMALL |= {"grid": Grid(frames=16, bins=128)}  # slices side by side: two thirds of the tokens
SMALL_VIEWS = Views(crop_share=0.3, gain_db=3, equalise_db=3, num_time_masks=1, time_mask_share=0.1)


def recipe(
    *,
    task: str = "aqa_binary",
    pretrain: tuple[str, ...] = ("none", "wavcaps"),
    presets: tuple[str, ...] = (),
    folds: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0,),
    size: str = "base",
    bert: str = "",
    pretrain_epochs: int = 50,
    epochs: int = 30,
) -> list[Run]:
    """Return pre-trainings and fine-tunings of one table; the row without pre-training trains everything.

    Args:
        presets: of `sonolex.systems.spectrobert.FREEZING`; default: the thesis's for this task.
        folds: of the protocol; default: all.
        size: "base", or "small" for two cores.
        bert: checkpoint (folder or hub:ORG/NAME) with the weights and vocabulary of the encoder; random ones without.
    """
    if task not in TASKS:
        raise ValueError(f"`task` must be one of {', '.join(TASKS)}, but is {task!r}.")
    unknown = sorted(set(pretrain) - {"none", *PRETRAININGS})
    if unknown or size not in ("base", "small"):
        raise ValueError(
            f"`pretrain` must be some of none, {', '.join(PRETRAININGS)} and `size` base or small, but they are "
            f"{', '.join(pretrain)} and {size}."
        )
    table, runs = TASKS[task], []
    parts = _Parts(size, bert)
    tasks = _task_configs(task)
    for seed in seeds:
        started: set[str] = set()
        for fold in folds or table.folds:
            for name in pretrain:
                start = None
                if name != "none":
                    of_fold = f"-{fold}" if name == "captions" and task == "questions" else ""
                    start = f"pretrain-{name}{of_fold}-{seed}"
                    if start not in started:
                        runs.append(parts.pretraining(start, name, fold if of_fold else None, seed, pretrain_epochs))
                        started.add(start)
                for preset in (presets or table.presets) if start else ("open-nofrz",):
                    runs.append(parts.finetuning(task, tasks, name, preset, fold, seed, epochs, start))
    return runs


def tiny() -> list[Run]:
    """Return one pre-training on captions and one frozen fine-tuning on questions, for a few steps."""
    runs = recipe(
        task="questions", pretrain=("captions",), presets=("bin-frz-nolast",), folds=("1",), size="small", epochs=3
    )
    small = {"num_layers": 1, "width": 32, "num_heads": 2, "ffn_width": 64, "conv_width": 8}
    optim = replace(runs[1].optim, frozen=(), lr=3e-3)
    return [
        replace(r, config=replace(r.config, **small), optim=optim, budget=replace(r.budget, max_steps=48)) for r in runs
    ]


@dataclass(frozen=True)
class _Parts:
    """Config and processor of a size, and the runs that share them."""

    size: str
    bert: str

    @property
    def config(self) -> SpectroBertConfig:
        if self.size == "small":
            return SpectroBertConfig(**SMALL)
        return SpectroBertConfig.like(self.bert) if self.bert else SpectroBertConfig.base()

    @property
    def processor(self) -> SpectroBertProcessorConfig:
        tokenizer = self.bert or None
        if self.size == "small":
            from sonolex.data.corpora.esc10_captions import WORDINGS
            from sonolex.data.corpora.esc10_questions import ASKED, OPEN

            more = (*ASKED, *OPEN, *WORDINGS)
            return SpectroBertProcessorConfig(
                vocab_size=400, max_tokens=24, max_frames=1000, mean=-7.0, std=5.0, tokenizer=tokenizer, more_texts=more
            )
        return SpectroBertProcessorConfig(tokenizer=tokenizer, long_clip="refuse")

    @property
    def views(self) -> Views:
        return SMALL_VIEWS if self.size == "small" else Views()

    @property
    def optim(self) -> Optim:
        if self.size == "small":
            return Optim(lr=1e-3, weight_decay=0.05, schedule="cosine")
        return Optim(algorithm="radam", lr=1e-5, weight_decay=0.0, schedule="constant", warmup_share=0.0, clip_norm=5.0)

    def budget(self, epochs: int) -> Budget:
        if self.size == "base":
            return Budget(epochs=epochs, batch_s=10_000, batch_clips=24)
        # A few dozen selection clips cannot tell good epochs from lucky ones: the last one counts.
        return Budget(epochs=epochs, batch_s=10_000, batch_clips=32, evaluate_epochs=epochs, select="last")

    def pretraining(self, name: str, corpus: str, fold: str | None, seed: int, epochs: int) -> Run:
        module, folders = PRETRAININGS[corpus]
        where = {"fold": tuple(f for f in "12345" if f != fold)} if fold else {}
        return Run(
            name=name,
            system="spectrobert",
            config=self.config,
            processor=self.processor,
            tasks=(PretrainingConfig("pretraining"),),
            data=Data(
                train=(Source(corpus=module, options=corpus_options(*folders), where=where),),
                loading=Loading(partners=0.5, views=self.views),
            ),
            optim=self.optim,
            budget=Budget(epochs=epochs, batch_s=10_000, batch_clips=24, evaluate_epochs=epochs, select="last"),
            pretrained={"bert": self.bert} if self.bert else {},
            precision="auto",
            seed=seed,
        )

    def finetuning(
        self,
        task: str,
        tasks: Sequence[TaskConfig],
        pretrain: str,
        preset: str,
        fold: str,
        seed: int,
        epochs: int,
        start: str | None,
    ) -> Run:
        table = TASKS[task]
        return Run(
            name=f"{task}-{pretrain}-{preset}-{fold}-{seed}",
            row=f"{pretrain}, {preset}" if start else "no pre-training",
            system="spectrobert",
            config=self.config,
            processor=self.processor,
            tasks=tuple(tasks),
            data=Data.of_protocol(
                table.protocol,
                fold,
                options=corpus_options(*table.folders),
                loading=Loading(modalities=tuple(find_protocol(table.protocol).modalities), views=self.views),
            ),
            optim=replace(self.optim, frozen=frozen_groups(preset, self.config)),
            budget=self.budget(epochs),
            init_from=start,
            pretrained={"bert": self.bert} if self.bert and not start else {},
            precision="auto",
            seed=seed,
        )


def _task_configs(task: str) -> Sequence[TaskConfig]:
    """Return the protocol's tasks; an open vocabulary is that of the training questions."""
    table = TASKS[task]
    tasks = find_protocol(table.protocol).tasks
    if task != "aqa_open":
        return tasks
    clips = find_module("data.corpora", "clotho_aqa").prepare(**corpus_options(*table.folders))
    answers = tuple(sorted({a for a in clips.where(split="train", question="open").column("open") if a}))
    return [replace(t, classes=answers) for t in tasks]  # type: ignore[type-var]
