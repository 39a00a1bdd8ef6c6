"""Shared by recipes: folders of recordings, and the views and alignment of spoken words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sonolex.audio.patches import Blocks, Grid
from sonolex.audio.views import Views
from sonolex.data.corpora import emodb, espeak_digits
from sonolex.systems.calm import CalmConfig, CalmProcessorConfig
from sonolex.train.run import Source

DEFAULT_DATA = "../shared/data"
WORD_VIEWS = Views(
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
"""For single words by few speakers: they vary what another speaker, microphone or room would change."""

CALM_WORDS_PROCESSOR = CalmProcessorConfig(
    range_db=40.0, normalise="level", std=1.5, max_frames=800, max_tokens=8, vocab_size=300, window_ms=32
)
CALM_WORDS = CalmConfig.tiny(
    num_heads=4,
    num_positions=16,
    time_positions=64,
    dropout=0.2,
    attention_dropout=0.0,
    blocks=(Blocks(64, 32),),
    grid=Grid(4, 64, num_mels=64),
    stem="conv2d",
    spectran_layers=3,
    stage="align",
    align="clip",
    text_weight=1.0,
    pooled="aligned",
)
"""CALM aligning clips of one word with their texts: see `sonolex.recipes.calm_words`."""

ESPEAK_WORDS = Source(protocol="espeak_words_unseen_voices", fold="unseen", part="train")
UNSPOKEN = Source(corpus="tonewords_texts", options={"apart_from": "small"})
"""Texts without recordings; none is a sentence that ToneWords' protocols select or report on."""


EMODB = ("emodb4", "emodb")
FOLDERS: dict[str, tuple[str, ...]] = {"emodb": EMODB, "tonewords_and_emodb": EMODB}


def other_speakers() -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """Return recordings by 82 speakers to learn verification from, EMO-DB's and espeak's voices, and their names."""
    acted = Source(corpus="emodb", options=corpus_options(*EMODB) | {"strict": False})
    return (acted, Source(corpus="espeak_digits")), emodb.SPEAKERS + espeak_digits.speakers()


def protocol_options(corpus: str, *, strict: bool = True) -> dict[str, Any]:
    """Return the options of a protocol's corpus: its folder, if one of its name exists; else the corpus finds it.

    Args:
        strict: False takes a part of an official release.
    """
    options: dict[str, Any] = corpus_options(*FOLDERS.get(corpus, (corpus,)))
    root = options if Path(options["root"]).is_dir() else {}
    return root | ({} if strict else {"strict": False})


def corpus_options(*names: str) -> dict[str, str]:
    """Return ``{"root": folder}`` of the first of ``names`` under $SONOLEX_DATA, or beside the checkout."""
    base = Path(os.environ.get("SONOLEX_DATA", DEFAULT_DATA))
    folders = [base / name for name in names if (base / name).is_dir()]
    return {"root": str(folders[0] if folders else base / names[0])}
