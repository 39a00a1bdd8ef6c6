"""Transcript clean-up per paper, and tokenizers: train, save, load.

Class labels never share a vocabulary with tokens: labels are encoded by tasks, not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# RoBERTa's order, so that CTAL's shipped vocabulary and ours agree: reference C1.
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
START_ID, PAD_ID, END_ID, UNKNOWN_ID, MASK_ID = range(5)
BYTE_ALPHABET = 256


def clean_ctal(transcript: str) -> str:
    """Return the transcript lower-cased, with . , ? ! as spaces and single spaces between words.

    Source: CTAL's fine-tuning code, reference C1.

    >>> clean_ctal("Well, I'm HAPPY!  Are you?")
    "well i'm happy are you"
    """
    return " ".join(re.sub(r"[.,?!]", " ", transcript.lower()).split())


def clean_none(transcript: str) -> str:
    """Return the transcript with outer and repeated white space removed, and nothing else.

    >>> clean_none("  Guten   Tag. ")
    'Guten Tag.'
    """
    return " ".join(transcript.split())


CLEANERS = {"ctal": clean_ctal, "none": clean_none}


def train_byte_bpe(transcripts: Iterable[str], *, vocab_size: int = 30_000) -> Tokenizer:
    """Return a byte-level BPE tokenizer trained on ``transcripts``, with CTAL's five special tokens first.

    The vocabulary may come out smaller than asked when the text is small; it never misses a byte.

    Raises:
        ValueError: ``vocab_size`` cannot hold the bytes and special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    smallest = BYTE_ALPHABET + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ValueError(f"`vocab_size` must be at least {smallest} (bytes and special tokens), but is {vocab_size}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(transcripts), trainer)
    return tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer in ``path``: a ``tokenizer.json``, or a folder with one or with vocab.json and merges.txt.

    Raises:
        FileNotFoundError: none of these files is there.
    """
    from tokenizers import ByteLevelBPETokenizer, Tokenizer

    path = Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        return Tokenizer.from_file(str(file))
    vocab, merges = path / "vocab.json", path / "merges.txt"
    if vocab.is_file() and merges.is_file():
        # Only the model is kept: whether a token begins a word is decided by the text, as in training.
        return ByteLevelBPETokenizer(str(vocab), str(merges))._tokenizer  # type: ignore[attr-defined]
    raise FileNotFoundError(
        f"`path` must hold tokenizer.json, or vocab.json with merges.txt, but {path} does not. "
        "Name the folder that was saved with the model."
    )


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of ``text`` between start and end token."""
    return [START_ID, *tokenizer.encode(text, add_special_tokens=False).ids, END_ID]
