"""Remedies for rare classes, compared where nothing else is wrong: ToneWords as skewed as SLUE-VoxCeleb.

    sonolex table imbalance --processes 2 --out runs/imbalance

The transfer study (Chinnam, Edinburgh 2023) saw every classifier on SpeechLM predict Neutral, and tried to prune and to
repeat classes. Here a small SpeechLM is pre-trained on ToneWords' sentences and words with their texts, no labels; then
each remedy classifies sentiment from audio (22 % positive, 4 % negative, 74 % neutral) with the encoder fixed and with
all of it trained; one row has no pre-training. The epoch is chosen by macro-F1 on the validation voices, not by
accuracy, which favours the majority.

Cost: half an hour of pre-training and two to ten minutes a row on one core.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig
from sonolex.protocols.base import find_protocol
from sonolex.recipes.base import ESPEAK_WORDS
from sonolex.systems.speechlm import SpeechLmConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

PROTOCOL = "tonewords_sentiment_skewed"
AGAINST = "trained: nothing done"
CONFIG = SpeechLmConfig.tiny(objectives=("units", "text_ctc", "speech_ctc"), reader="attention")
PROCESSOR = SpeechAndLettersConfig(
    audio="spectrogram", hop_ms=32.0, window_ms=50.0, max_frames=400, num_units=100, spoken_letters=True
)
VIEWS = Views(speed=0.2, vtlp=0.2, equalise_db=6, noise_snr_db=10, num_mel_masks=1, mel_mask_bins=8)
REMEDIES: dict[str, dict[str, Any]] = {
    "nothing done": {},
    "pruned to the rarest class": {"balance": "prune"},
    "repeated, as published": {"balance": "repeat"},
    "repeated to the largest class": {"balance": "fill"},
    "drawn evenly": {"balance": "even"},
    "weighted loss": {"imbalance": "weighted"},
    "adjusted logits": {"imbalance": "adjusted"},
}
"""Of `Budget.balance` and `ClassificationConfig.imbalance`."""


def recipe(
    *, seeds: tuple[int, ...] = (0, 1, 2), size: str = "medium", pretrain_epochs: int = 12, epochs: int = 8
) -> list[Run]:
    """Return pre-training, every remedy with the encoder fixed and with all trained, and training from scratch."""
    runs = []
    for seed in seeds:
        start = _pretraining(seed, size, pretrain_epochs)
        runs.append(start)
        for manner in ("fixed", "trained"):
            runs += [_remedy(remedy, manner, seed, size, epochs, start.name) for remedy in REMEDIES]
        runs.append(_remedy("nothing done", "from scratch", seed, size, epochs, None))
    return runs


def tiny() -> list[Run]:
    """Return pre-training and one remedy at a size that trains in seconds."""
    runs = recipe(seeds=(0,), size="tiny", pretrain_epochs=6, epochs=6)
    sizes: dict[str, Any] = {"width": 32, "num_heads": 2, "ffn_width": 64, "num_speech_layers": 1, "num_layers": 1}
    few = replace(runs[0].data, train=runs[0].data.train[:1])
    small = [replace(runs[0], data=few), next(r for r in runs if r.row == "trained: weighted loss")]
    return [replace(r, config=replace(r.config, **sizes), optim=Optim(lr=3e-3)) for r in small]


def _pretraining(seed: int, size: str, epochs: int) -> Run:
    spoken = Source(
        corpus="tonewords", options={"size": "tiny" if size == "tiny" else "small"}, where={"split": "train"}
    )
    return Run(
        name=f"joint-{seed}",
        system="speechlm",
        config=CONFIG,
        processor=PROCESSOR,
        tasks=(PretrainingConfig("pretraining"),),
        data=Data(train=(spoken, ESPEAK_WORDS), loading=Loading(views=VIEWS)),
        optim=Optim(lr=1e-3, weight_decay=0.01, schedule="cosine"),
        budget=Budget(epochs=epochs, batch_s=10_000, batch_clips=32, evaluate_epochs=epochs, select="last"),
        precision="auto",
        seed=seed,
    )


def _remedy(remedy: str, manner: str, seed: int, size: str, epochs: int, start: str | None) -> Run:
    (task,) = find_protocol(PROTOCOL).tasks
    change = REMEDIES[remedy]
    fixed = manner == "fixed"
    return Run(
        name=f"{manner}-{remedy}-{seed}".replace(",", "").replace(" ", "-"),
        row=f"{manner}: {remedy}",
        system="speechlm",
        config=CONFIG,
        processor=PROCESSOR,
        tasks=(replace(task, hidden=64, imbalance=change.get("imbalance", "none")),),  # type: ignore[call-arg]
        data=Data.of_protocol(
            PROTOCOL,
            "unseen",
            options={"size": size},
            loading=Loading(modalities=("audio",), views=Views() if fixed else VIEWS),
        ),
        optim=Optim(lr=1e-3 if fixed else 3e-4, frozen=_all_but_the_reader() if fixed else ()),
        budget=Budget(
            epochs=epochs,
            batch_s=10_000,
            batch_clips=32,
            evaluate_epochs=1,
            select_by="macro_f1",
            balance=change.get("balance", "none"),
            balance_by="sentiment" if "balance" in change else "",
        ),
        init_from=start,
        precision="auto",
        seed=seed,
    )


def _all_but_the_reader() -> tuple[str, ...]:
    """Return the layer groups of the encoder, which the study keeps fixed. The reader is part of the classifier."""
    layers = [f"speech_layer_{i}" for i in range(CONFIG.num_speech_layers)]
    layers += [f"shared_layer_{i}" for i in range(CONFIG.num_layers)]
    return ("speech", "speech_input", "shared_input", *layers, "units", "pretraining_heads")
