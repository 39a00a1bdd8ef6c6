"""Questions about ESC-10's sounds with a small SpectroBERT: from scratch, pre-trained, from a local BERT, words alone.

    sonolex train spectrobert_esc10_questions --out runs/questions
    sonolex train spectrobert_esc10_questions --bert FOLDER --out runs/questions-bert

Both questions are trained together. Pre-training (MLM + SAP) joins sounds and captions of the four training folds;
the words-alone row must stay at chance. With ``--bert`` the encoder has the sizes and vocabulary of a BERT checkpoint
(local folder or hub:ORG/NAME), with its weights and with random ones, trained and frozen (the audio's tokens are
learned).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sonolex.audio.views import Views
from sonolex.data.corpora.esc10_captions import WORDINGS
from sonolex.data.corpora.esc10_questions import ASKED, OPEN
from sonolex.data.loader import Loading
from sonolex.protocols.base import find_protocol
from sonolex.recipes.base import corpus_options
from sonolex.systems.spectrobert import SpectroBertConfig, SpectroBertProcessorConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

PROTOCOL = "esc10_questions"
FOLDS = ("1", "2", "3", "4", "5")
PROCESSOR = SpectroBertProcessorConfig(
    vocab_size=400, max_tokens=24, max_frames=1000, mean=-7.0, std=5.0, more_texts=(*ASKED, *OPEN, *WORDINGS)
)
AUDIO: dict[str, Any] = {"conv_width": 32, "max_tokens": 24, "window_positions": 1000, "steps": "stacked"}
SMALL = SpectroBertConfig(
    num_layers=3, width=128, num_heads=4, ffn_width=512, num_positions=160, attention_dropout=0.0, **AUDIO
)
VIEWS = Views(crop_share=0.3, gain_db=3, equalise_db=3, num_time_masks=1, time_mask_share=0.1, roll_frames=200)
OPTIM = Optim(lr=1e-3, weight_decay=0.05, schedule="cosine")


def recipe(
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    folds: tuple[str, ...] = FOLDS,
    epochs: int = 30,
    pretrain_epochs: int = 60,
    bert: str = "",
) -> list[Run]:
    """Return, per seed and fold, the rows above; with ``bert``, its weights against random ones of its size."""
    runs = []
    for seed in seeds:
        for fold in folds:
            if bert:
                runs += _from_bert(bert, fold, seed, epochs)
                continue
            pretraining = _pretraining(fold, seed, pretrain_epochs)
            runs += [
                _run("scratch", "from scratch", fold, seed, epochs),
                pretraining,
                _run("pretrained", "pre-trained (MLM + SAP)", fold, seed, epochs, init_from=pretraining.name),
                _run("words", "words alone", fold, seed, epochs, modalities=("text",)),
            ]
    return runs


def tiny() -> list[Run]:
    """Return a pre-training and one fold, for a few steps."""
    small = replace(SMALL, num_layers=1, width=32, num_heads=2, ffn_width=64, conv_width=8)
    runs = recipe(seeds=(0,), folds=("1",), epochs=1, pretrain_epochs=4)[1:3]
    return [replace(r, config=small, budget=replace(r.budget, max_steps=36)) for r in runs]


def _pretraining(fold: str, seed: int, epochs: int) -> Run:
    train_folds = tuple(f for f in FOLDS if f != fold)
    return Run(
        name=f"pretrain-{fold}-{seed}",
        system="spectrobert",
        config=SMALL,
        processor=PROCESSOR,
        tasks=(PretrainingConfig("pretraining"),),
        data=Data(
            train=(Source(corpus="esc10_captions", options=corpus_options("esc10"), where={"fold": train_folds}),),
            loading=Loading(partners=0.5, views=VIEWS),
        ),
        optim=OPTIM,
        budget=Budget(epochs=epochs, batch_s=10_000, batch_clips=32, evaluate_epochs=epochs, select="last"),
        precision="auto",
        seed=seed,
    )


def _from_bert(bert: str, fold: str, seed: int, epochs: int) -> list[Run]:
    config = SpectroBertConfig.like(bert, attention_dropout=0.0, **AUDIO, together=2)
    encoder = ("embedding", *(f"layer_{i}" for i in range(config.num_layers)), "pretraining_heads")
    runs = []
    for mark, words, optim in (
        ("bert", "", replace(OPTIM, lr=3e-4)),
        ("frozen-bert", ", encoder frozen", replace(OPTIM, frozen=encoder)),
    ):
        base = _run(mark, f"BERT's weights{words}", fold, seed, epochs)
        with_weights = replace(
            base,
            config=config,
            processor=replace(PROCESSOR, tokenizer=bert),
            pretrained={"bert": bert},
            optim=optim,
        )
        random = replace(
            with_weights, name=f"{mark}-random-{fold}-{seed}", row=f"BERT's size, random weights{words}", pretrained={}
        )
        runs += [with_weights, random]
    return runs


def _run(
    name: str,
    row: str,
    fold: str,
    seed: int,
    epochs: int,
    *,
    init_from: str | None = None,
    modalities: tuple[str, ...] = ("audio", "text"),
) -> Run:
    return Run(
        name=f"{name}-{fold}-{seed}",
        row=row,
        system="spectrobert",
        config=SMALL,
        processor=PROCESSOR,
        tasks=find_protocol(PROTOCOL).tasks,
        data=Data.of_protocol(
            PROTOCOL,
            fold,
            options=corpus_options("esc10"),
            loading=Loading(modalities=modalities, views=VIEWS, cache_mb=2000),
        ),
        optim=OPTIM,
        budget=Budget(epochs=epochs, batch_s=10_000, batch_clips=32, evaluate_epochs=10, select="last"),
        init_from=init_from,
        precision="auto",
        seed=seed,
    )
