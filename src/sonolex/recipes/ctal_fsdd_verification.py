"""Speaker verification on FSDD: train on three speakers, all pairs of clips by three others.

    sonolex train ctal_fsdd_verification --out runs/verification && sonolex compare runs/verification

Cost: half a minute a run on one core, three minutes with more speakers. Expected EER, three seeds: with more speakers
and level removed 0.224 ± 0.007, the best row (MFCC cosine floor 0.247, without level 0.283); all in docs/notebook.md.

Rooms, microphones and levels are part of these "speakers". ``level kept`` uses one map for all clips, ``level removed``
subtracts each clip's mean level, ``level and channel removed`` its mean spectrum.

Chosen on the training speakers alone (trained on one of them and others' data, scored on the pairs of the two others;
mean EER of the three choices): EMO-DB's ten speakers 0.224, espeak's voices 0.152, both 0.135, both with logits of
15 · cosine 0.127 (this one).
"""

from __future__ import annotations

from dataclasses import replace

from sonolex.data.loader import Loading
from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig
from sonolex.protocols.fsdd_digits_unseen_speakers import TRAIN_SPEAKERS
from sonolex.recipes.base import corpus_options, other_speakers
from sonolex.systems.ctal import CtalConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.verification import VerificationConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

PROTOCOL = "fsdd_verification"
CONFIG = replace(CtalConfig.tiny(), num_layers=3, frames_per_step=2, orthogonal="none")
PROCESSOR = LogMelAndTokensConfig(
    rate_hz=8000, window_ms=32, hop_ms=10, fft_samples=512, num_mels=64, max_frames=800, max_tokens=32, vocab_size=300
)
ESPEAK = Source(corpus="espeak_digits")
ROWS = {
    "scratch": "from scratch",
    "more-speakers": "with EMO-DB's speakers and espeak's voices",
    "pretrained": "pre-trained (MCAM)",
}
NORMALISATION = {"level kept": "fixed", "level removed": "level", "level and channel removed": "mean"}


def recipe(*, seeds: tuple[int, ...] = (0, 1, 2), epochs: int = 15, pretrain_epochs: int = 8) -> list[Run]:
    """Return level kept and removed: from scratch, with more speakers, and after MCAM on espeak digits and FSDD."""
    runs = []
    for seed in seeds:
        for level in ("level kept", "level removed"):
            runs.append(_run(level, seed, epochs))
            runs.append(_run(level, seed, epochs, more_speakers=True))
            runs.append(_pretraining(level, seed, pretrain_epochs))
            runs.append(_run(level, seed, epochs, start=runs[-1].name))
        runs.append(_run("level and channel removed", seed, epochs))
    return runs


def tiny() -> list[Run]:
    """Return one run of few epochs."""
    return [_run("level kept", 0, 3)]


def _pretraining(level: str, seed: int, epochs: int) -> Run:
    train = Source(protocol=PROTOCOL, fold="unseen", part="train", options=corpus_options("fsdd"))
    return Run(
        name=f"pretrain-{level.replace(' ', '-')}-{seed}",
        system="ctal",
        config=CONFIG,
        processor=replace(PROCESSOR, normalise=NORMALISATION[level]),
        tasks=(PretrainingConfig("pretraining"),),
        data=Data(
            train=(train, ESPEAK),
            selection=(replace(train, part="selection"),),
            loading=Loading(modalities=("audio",)),
        ),
        optim=Optim(lr=2e-3),
        budget=Budget(epochs=epochs, batch_s=64, evaluate_epochs=epochs, select="last"),
        seed=seed,
    )


def _run(level: str, seed: int, epochs: int, *, start: str | None = None, more_speakers: bool = False) -> Run:
    kind = "pretrained" if start else "more-speakers" if more_speakers else "scratch"
    processor = replace(PROCESSOR, normalise=NORMALISATION[level])
    train = (Source(protocol=PROTOCOL, fold="unseen", part="train", options=corpus_options("fsdd")),)
    task = VerificationConfig("speaker", classes=TRAIN_SPEAKERS)
    if more_speakers:
        sources, names = other_speakers()
        train += sources
        task = replace(task, classes=TRAIN_SPEAKERS + names, scale=15.0)
        processor = replace(processor, max_frames=1000)  # EMO-DB's longest sentence lasts 9 s
        epochs = epochs * 2 // 3
    return Run(
        name=f"{kind}-{level.replace(' ', '-')}-{seed}",
        row=f"CTAL-tiny, {ROWS[kind]}, {level}",
        system="ctal",
        config=CONFIG,
        processor=processor,
        tasks=(task,),
        data=Data.of_protocol(
            PROTOCOL,
            "unseen",
            options=corpus_options("fsdd"),
            train=train,
            loading=Loading(modalities=("audio",)),
        ),
        optim=Optim(lr=1e-3, weight_decay=0.05, schedule="cosine"),
        budget=Budget(epochs=epochs, batch_s=64, batch_clips=64, evaluate_epochs=epochs, select="last"),
        init_from=start,
        seed=seed,
    )
