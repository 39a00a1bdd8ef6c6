"""Spoken digits and their words, by unseen speakers: alignment, search, and questions learned from words alone.

    sonolex train calm_fsdd_words --out runs/words && sonolex compare runs/words

Per seed: CALM's alignment of FSDD's training speakers with the ten words (protocol `fsdd_words_unseen_speakers`: which
of ten words is this?), then two questions about a digit (`fsdd_properties_unseen_speakers`: is it even, is it above
four?) answered by a linear classifier on the frozen aligned vectors. It is fitted once to the *words'* vectors and
asked about audio (zero-shot across modalities), and once to the audio's own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sonolex.audio.patches import Blocks, Grid
from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.protocols.base import find_protocol
from sonolex.recipes._real import corpus_options
from sonolex.systems.calm import CalmConfig, CalmProcessorConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

WORDS, PROPERTIES = "fsdd_words_unseen_speakers", "fsdd_properties_unseen_speakers"
PROCESSOR = CalmProcessorConfig(
    rate_hz=8000,
    window_ms=32,
    range_db=40.0,
    level="removed",
    std=1.5,
    max_frames=800,
    max_tokens=8,
    vocab_size=300,
)
CONFIG = CalmConfig.tiny(
    num_heads=4,
    num_positions=16,
    time_positions=64,
    attention_dropout=0.0,
    blocks=(Blocks(64, 32),),
    grid=Grid(10, 16, 5, 8, num_mels=64),
    spectran_layers=3,
    stage="align",
    align="clip",
    text_weight=1.0,
    pooled="aligned",
)
VIEWS = Views(
    speed=0.2,
    vtlp=0.2,
    equalise_db=10,
    noise_snr_db=5,
    num_time_masks=1,
    time_mask_share=0.15,
    num_mel_masks=2,
    mel_mask_bins=10,
    crop_share=0.15,
    pad_share=1.0,
)
GAPS = {"": 1, ", neighbours apart": 2}


def recipe(*, seeds: tuple[int, ...] = (0, 1, 2), epochs: int = 60, espeak: bool = True) -> list[Run]:
    """Return alignments with and without neighbours that share frames, and the probes of the first, per seed."""
    runs = []
    for seed in seeds:
        for words, gap in GAPS.items():
            runs.append(_alignment(f"align-{gap}-{seed}", words, seed, epochs, espeak, neighbour_gap=gap))
        for task in find_protocol(PROPERTIES).tasks:
            for learned in ("text", "audio"):
                runs.append(_probe(task.name, learned, seed, f"align-1-{seed}"))
    return runs


def tiny() -> list[Run]:
    """Return one alignment for a few steps."""
    run = recipe(seeds=(0,), epochs=1, espeak=False)[0]
    small: dict[str, Any] = {"width": 32, "num_heads": 2, "ffn_width": 64, "spectran_layers": 1}
    return [replace(run, config=replace(run.config, **small), budget=replace(run.budget, max_steps=12))]


def _alignment(name: str, words: str, seed: int, epochs: int, espeak: bool, **changes: Any) -> Run:
    own = Source(protocol=WORDS, fold="unseen", part="train", options=corpus_options("fsdd"))
    return Run(
        name=name,
        row=f"CALM aligned{words}",
        system="calm",
        config=replace(CONFIG, **changes),
        processor=PROCESSOR,
        tasks=(PretrainingConfig("pretraining"), *find_protocol(WORDS).tasks),
        data=Data.of_protocol(
            WORDS,
            "unseen",
            options=corpus_options("fsdd"),
            train=(own, *([Source(corpus="espeak_digits")] if espeak else [])),
            loading=Loading(views=VIEWS),
        ),
        optim=Optim(lr=1e-3, weight_decay=0.05, schedule="cosine"),
        budget=Budget(
            epochs=epochs, batch_s=10_000, batch_clips=64, by_length=False, evaluate_epochs=epochs, select="last"
        ),
        precision="auto",
        seed=seed,
    )


def _probe(task: str, learned: str, seed: int, start: str) -> Run:
    zero_shot = learned == "text"
    return Run(
        name=f"{task}-{learned}-{seed}",
        row="classifier of words" if zero_shot else "classifier of audio",
        system="calm",
        config=CONFIG,
        processor=PROCESSOR,
        tasks=tuple(t for t in find_protocol(PROPERTIES).tasks if t.name == task),
        data=Data.of_protocol(
            PROPERTIES,
            "unseen",
            options=corpus_options("fsdd"),
            loading=Loading(modalities=(learned,)),
            also_report=(("audio",),) if zero_shot else (),
        ),
        init_from=start,
        frozen_classifier="linear",
        seed=seed,
    )
