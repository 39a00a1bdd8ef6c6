"""Tone and sentiment, learned in one language and tested in another: ToneWords in English and German, and EMO-DB.

    sonolex train tones_across_languages --out runs/languages && sonolex compare runs/languages

A small CTAL learns ToneWords' tone from audio in one language and is tested on unseen voices in the other; and on the
same four emotions by EMO-DB's German actors, who follow none of ToneWords' rules; and the other way round. Sentiment is
learned from words and sound, and tested with each. Beside each row: learned in the tested language. Nothing of the
tested language, not even its validation voices, selects anything.

Cost: two minutes a run on one core, ten runs a seed.
"""

from __future__ import annotations

from dataclasses import replace

from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig
from sonolex.protocols.base import find_protocol
from sonolex.recipes.base import protocol_options
from sonolex.systems.ctal import CtalConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source

# Normalised within each clip: another corpus has another level, room and microphone.
PROCESSOR = LogMelAndTokensConfig(hop_ms=25.0, max_frames=800, max_tokens=128, vocab_size=600, normalise="utterance")
CONFIG = replace(CtalConfig.tiny(), orthogonal="none")
VIEWS = Views(speed=0.15, vtlp=0.1, gain_db=6, num_mel_masks=1, mel_mask_bins=8)
LANGUAGES = {"en": "English", "de": "German"}
EMODB_EPOCHS = 6  # times those of ToneWords, which has twenty times as many clips


def recipe(
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    size: str = "small",
    languages: bool = True,
    actors: bool = True,
    epochs: int = 9,
) -> list[Run]:
    """Return tone and sentiment across languages, and tone between ToneWords and EMO-DB, per seed.

    Args:
        languages: between English and German ToneWords.
        actors: between ToneWords and EMO-DB.
    """
    runs = []
    for seed in seeds:
        if languages:
            for source, target in (("en", "de"), ("de", "en")):
                there = f"tonewords_tone_{source}_{target}"
                runs += [
                    _run(there, source, size, seed, epochs),
                    _run(there, target, size, seed, epochs, learned_under=f"tonewords_tone_{target}_{source}"),
                ]
            runs.append(
                _run("tonewords_sentiment_en_de", "en", size, seed, epochs, also_report=(("audio",), ("text",)))
            )
        if actors:
            for language in LANGUAGES:
                runs += [
                    _run(f"tonewords_{language}_to_emodb", language, size, seed, epochs),
                    _run(f"emodb_to_tonewords_{language}", "emodb", size, seed, epochs * EMODB_EPOCHS),
                ]
    return runs


def tiny() -> list[Run]:
    """Return one crossing of languages at a size that trains in seconds."""
    return recipe(seeds=(0,), size="tiny", epochs=8)[:1]


def _run(
    protocol: str,
    learned: str,
    size: str,
    seed: int,
    epochs: int,
    *,
    learned_under: str = "",
    also_report: tuple[tuple[str, ...], ...] = (),
) -> Run:
    """Return a run that trains on the training part of ``protocol``, or of ``learned_under``."""
    rules = find_protocol(protocol)
    fold, options = "all" if "emodb" in protocol else "unseen", {"size": size} | protocol_options(rules.corpus)

    def learned_from(part: str) -> tuple[Source, ...]:
        return (Source(protocol=learned_under or protocol, fold=fold, part=part, options=options),)

    return Run(
        name=f"{protocol}-{learned}-{seed}",
        row=f"learned in {LANGUAGES[learned]}" if learned in LANGUAGES else "learned from EMO-DB",
        system="ctal",
        config=CONFIG,
        processor=PROCESSOR,
        tasks=rules.tasks,
        data=Data.of_protocol(
            protocol,
            fold,
            options=options,
            train=learned_from("train"),
            selection=learned_from("selection"),
            loading=Loading(
                modalities=rules.modalities,
                views=VIEWS,
                drop_audio=0.15 if also_report else 0.0,
                drop_text=0.15 if also_report else 0.0,
            ),
            also_report=also_report,
        ),
        optim=Optim(lr=2e-3, weight_decay=0.05),
        budget=Budget(epochs=epochs, batch_s=128, evaluate_epochs=epochs, select="last"),
        precision="auto",
        seed=seed,
    )
