"""Sentiment of whole sentences, learned from texts and tested on speech: how much paired speech it takes.

    sonolex train calm_sentences --out runs/sentences && sonolex compare runs/sentences

CALM aligns espeak's single words with their texts, then goes on with ToneWords' sentences (and the words). Then a small
network on the frozen aligned vectors learns sentiment from *texts* (200,000 without recordings, no sentence of
the unseen voices among them) and is tested on audio of those voices, beside one that learned from audio itself. A
syllable decides the sentiment (careful, careless), so a bag of sounds is not enough. Rows are shares of the sentences
(and of their labels), all trained on the same total number of clips.

The network learns from texts with noise as long as the distance of a clip's audio and text vectors. Without noise it
is right about every text (1.00) and about 0.37 of the audio. The amount of noise was chosen on the validation voices,
after another classifier had failed on the test voices: see docs/notebook.md.

Cost: six minutes for the words, thirteen for each share and five for each classifier on one core.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sonolex.audio.views import Views
from sonolex.data.corpora.tonewords import TEMPLATES
from sonolex.data.loader import Loading
from sonolex.protocols.base import find_protocol
from sonolex.recipes.base import CALM_WORDS, CALM_WORDS_PROCESSOR, ESPEAK_WORDS, UNSPOKEN, WORD_VIEWS
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.retrieval import RetrievalConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

PROTOCOL = "tonewords_sentiment"
SCORED = {"size": "small"}
CONFIG = replace(CALM_WORDS, num_positions=40, time_positions=80)
PROCESSOR = replace(CALM_WORDS_PROCESSOR, max_frames=1000, max_tokens=40, vocab_size=1000, more_texts=TEMPLATES)
VIEWS = Views(
    speed=0.2,
    vtlp=0.2,
    equalise_db=6,
    noise_snr_db=10,
    num_time_masks=1,
    time_mask_share=0.05,
    num_mel_masks=1,
    mel_mask_bins=8,
)


def recipe(
    *,
    size: str = "medium",
    shares: tuple[float, ...] = (1.0, 0.25, 0.0625),
    seeds: tuple[int, ...] = (0,),
    word_epochs: int = 12,
    epochs: int = 3,
) -> list[Run]:
    """Return words, then for each share its sentences and the two classifiers, per seed.

    Args:
        size: of ToneWords: "medium" has 22,400 sentences by 56 voices to train on.
        epochs: with all sentences; a smaller share is repeated more often.
    """
    runs = []
    for seed in seeds:
        words = _words(f"words-{seed}", seed, word_epochs)
        runs.append(words)
        for share in shares:
            learned = _sentences(f"sentences-{share:g}-{seed}", size, share, seed, round(epochs / share), words.name)
            runs.append(learned)
            runs += [
                _classifier(f"{m}-{share:g}-{seed}", size, m, share, seed, learned.name) for m in ("text", "audio")
            ]
    return runs


def tiny() -> list[Run]:
    """Return words and a few of their sentences for a few steps."""
    small: dict[str, Any] = {"width": 32, "num_heads": 2, "ffn_width": 64, "spectran_layers": 1}
    words, sentences = recipe(size="tiny", word_epochs=1, shares=(1.0,))[:2]
    quick = {"optim": Optim(lr=3e-3), "config": replace(CONFIG, **small, dropout=0.0)}
    few = replace(words, budget=replace(words.budget, max_steps=20), **quick)
    data = replace(sentences.data, train=sentences.data.train[:1])
    return [few, replace(sentences, data=data, budget=replace(sentences.budget, batch_clips=32, max_steps=30), **quick)]


def _words(name: str, seed: int, epochs: int) -> Run:
    return Run(
        name=name,
        system="calm",
        config=CONFIG,
        processor=PROCESSOR,
        tasks=(_objectives(), RetrievalConfig("words", label="word")),
        data=Data(
            train=(ESPEAK_WORDS,),
            selection=(replace(ESPEAK_WORDS, part="selection"),),
            loading=Loading(views=WORD_VIEWS),
        ),
        optim=Optim(lr=2e-3, weight_decay=0.05, schedule="cosine"),
        budget=_budget(epochs, 32),
        precision="auto",
        seed=seed,
    )


def _sentences(name: str, size: str, share: float, seed: int, epochs: int, start: str) -> Run:
    def part(name: str, **changes: Any) -> Source:
        return Source(protocol=PROTOCOL, fold="unseen", part=name, options={"size": size}, **changes)

    return Run(
        name=name,
        system="calm",
        config=replace(CONFIG, temperature=0.05, dropout=0.1),
        processor=PROCESSOR,
        tasks=(_objectives(), RetrievalConfig("sentences", label="text")),
        data=Data(
            train=(part("train", share=share), replace(ESPEAK_WORDS, share=share)),
            selection=(replace(part("selection"), options=SCORED if size != "tiny" else {"size": size}),),
            loading=Loading(views=VIEWS),
        ),
        init_from=start,
        optim=Optim(lr=2e-3, weight_decay=0.05, schedule="cosine"),
        budget=_budget(epochs, 128),
        precision="auto",
        seed=seed,
    )


def _classifier(name: str, size: str, learned: str, share: float, seed: int, start: str) -> Run:
    spoken = Source(protocol=PROTOCOL, fold="unseen", part="train", options={"size": size}, share=share)
    return Run(
        name=name,
        row=f"learned from {learned}, {100 * share:g} % of sentences",
        system="calm",
        config=replace(CONFIG, temperature=0.05, dropout=0.1),
        processor=PROCESSOR,
        tasks=find_protocol(PROTOCOL).tasks,
        data=Data.of_protocol(
            PROTOCOL,
            "unseen",
            options=SCORED,
            train=(UNSPOKEN if learned == "text" else spoken,),
            loading=Loading(modalities=(learned,)),
            also_report=(("audio",),) if learned == "text" else (),
        ),
        init_from=start,
        frozen_classifier="noisy",
        seed=seed,
    )


def _objectives() -> PretrainingConfig:
    return PretrainingConfig("pretraining", term_weights={"neighbours": 0.1})


def _budget(epochs: int, clips: int) -> Budget:
    return Budget(
        epochs=epochs,
        batch_s=10_000,
        batch_clips=clips,
        by_length=False,
        evaluate_epochs=max(1, epochs // 3),
        select="last",
    )
