"""Transcript clean-up per paper, and tokenizers: train, save, load.

Class labels never share a vocabulary with tokens: labels are encoded by tasks, not here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonolex.files import load_object, require_file
from sonolex.tokenizer_limits import require_bounded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# RoBERTa's order, so that CTAL's shipped vocabulary and ours agree (docs/reference.md, CTAL).
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
START_ID, PAD_ID, END_ID, UNKNOWN_ID, MASK_ID = range(5)
BERT_TOKENS = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
BYTE_ALPHABET = 256
SPACE = "▁"  # sentencepiece's letter for a space, also before the first word
BLANK_TOKEN = "<ctc_blank>"
LETTER_NGRAMS = (2, 3, 4)
MOST_UNUSED = 100  # rows between letters and added tokens
MOST_TOKENIZER_BYTES = 64 << 20  # a vocabulary of 250,000 pieces with its merges takes 17 MB


@dataclass(frozen=True)
class SpecialIds:
    """Ids of a tokenizer's special tokens."""

    start: int
    pad: int
    end: int
    unknown: int
    mask: int

    @property
    def first_word(self) -> int:
        """The lowest id above all of them: random words are drawn from here on."""
        return 1 + max(self.start, self.pad, self.end, self.unknown, self.mask)


def special_ids(tokenizer: Tokenizer) -> SpecialIds:
    """Return the ids of RoBERTa's or BERT's special tokens, whichever the tokenizer has.

    Raises:
        ValueError: it has neither.
    """
    for names in (SPECIAL_TOKENS, BERT_TOKENS):
        ids = [tokenizer.token_to_id(n) for n in names]
        if all(i is not None for i in ids):
            return SpecialIds(*ids)  # type: ignore[arg-type]
    raise ValueError(
        f"a tokenizer must have the special tokens {', '.join(SPECIAL_TOKENS)} (RoBERTa) or {', '.join(BERT_TOKENS)} "
        "(BERT), but has neither. Name the folder of a BERT or RoBERTa checkpoint."
    )


def clean_ctal(transcript: str) -> str:
    """Return the transcript lower-cased, with . , ? ! as spaces and single spaces between words.

    Source: CTAL's fine-tuning code.

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


def word_and_letter_ngrams(transcript: str) -> list[str]:
    """Return a transcript's words, pairs of words and letter n-grams within words, for statistics of a text.

    A prefix tells words (w) from n-grams of letters (l). Case is folded; in scripts without spaces the n-grams of
    letters carry most.

    >>> word_and_letter_ngrams("So so!")[:6]
    ['w so', 'w so', 'w so so', 'l  s', 'l  so', 'l  so ']
    """
    words = re.findall(r"\w+", transcript.casefold())
    terms = [f"w {word}" for word in words]
    terms += [f"w {first} {second}" for first, second in pairwise(words)]
    for word in words:
        spaced = f" {word} "
        terms += [
            f"l {spaced[i : i + size]}"
            for i in range(len(spaced))
            for size in LETTER_NGRAMS
            if i + size <= len(spaced) and spaced[i : i + size].strip()
        ]
    return terms


def train_byte_bpe(transcripts: Iterable[str], *, vocab_size: int = 30_000) -> Tokenizer:
    """Return a byte-level BPE tokenizer trained on ``transcripts``, with CTAL's five special tokens first.

    The vocabulary may come out smaller than requested when the text is small; it never misses a byte.

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


def train_wordpiece(transcripts: Iterable[str], *, vocab_size: int = 30_522) -> Tokenizer:
    """Return BERT's lower-casing WordPiece tokenizer trained on ``transcripts``, with BERT's five special tokens.

    The vocabulary may come out smaller than requested when the text is small; an unknown letter is [UNK].

    Raises:
        ValueError: ``vocab_size`` cannot hold the special tokens and the text's letters, at a word's start and inside.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def new(vocab: dict[str, int] | None) -> Tokenizer:
        tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer

    learning, lines = new(None), list(transcripts)
    letters = sorted({letter for line in lines for letter in learning.normalizer.normalize_str(line) if letter.strip()})
    # The trainer sees pieces like ##a in the order of a hash table, another one in every process, and ties between
    # merges go by that order. Named beforehand, they have one order; the vocabulary then moves to a fresh tokenizer.
    known = [*BERT_TOKENS, *(f"##{letter}" for letter in letters)]
    smallest = len(known) + len(letters)
    if vocab_size < smallest:
        raise ValueError(f"`vocab_size` must be at least {smallest} (special tokens and letters), but is {vocab_size}.")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=known, min_frequency=1, show_progress=False
    )
    learning.train_from_iterator(iter(lines), trainer)
    tokenizer = new(learning.get_vocab())
    tokenizer.add_special_tokens(list(BERT_TOKENS))
    return tokenizer


def train_letters(transcripts: Iterable[str]) -> Tokenizer:
    """Return SpeechT5's kind of tokenizer, one token a letter, with the letters of ``transcripts``.

    Ids as in the released one: four special tokens, the space, letters; <mask> and <ctc_blank> last.
    """
    letters = sorted({letter for line in transcripts for letter in line if not letter.isspace()})
    return _letter_tokenizer([*SPECIAL_TOKENS[:4], SPACE, *letters])


def train_symbols(transcripts: Iterable[str]) -> Tokenizer:
    """Return a tokenizer whose tokens are what spaces separate (phones), with the same special tokens as letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    symbols = sorted({symbol for line in transcripts for symbol in line.split()})
    names = [*SPECIAL_TOKENS[:4], *symbols, SPECIAL_TOKENS[MASK_ID], BLANK_TOKEN]
    tokenizer = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token=SPECIAL_TOKENS[UNKNOWN_ID]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def _letter_tokenizer(pieces: list[str], added: Mapping[str, Any] | None = None, *, where: str = "") -> Tokenizer:
    """Return a tokenizer of letters; ``added`` are the ids of mask and blank, which else follow the letters."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    last = (SPECIAL_TOKENS[MASK_ID], BLANK_TOKEN)
    ids = {name: len(pieces) + i for i, name in enumerate(last)} if added is None else added
    rows = range(len(pieces), len(pieces) + MOST_UNUSED + len(last))
    whole = all(type(i) is int and i in rows for i in ids.values())
    if sorted(ids) != sorted(last) or not whole or len(set(ids.values())) < len(last):
        raise ValueError(
            f"{where} must give {' and '.join(last)} ids from {rows[0]} to {rows[-1]}, but is {str(added)[:80]}."
        )
    vocab = {piece: i for i, piece in enumerate(pieces)} | dict(ids)
    unused = set(range(len(pieces), max(ids.values()))) - set(ids.values())
    vocab |= {f"<unused {i}>": i for i in unused}  # a row of the embedding that belongs to no letter
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=SPECIAL_TOKENS[UNKNOWN_ID]))
    spaces = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([spaces, pre_tokenizers.Split(Regex("."), "isolated")])
    tokenizer.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace(SPACE, " "), decoders.Strip(" ", 1, 0)])
    return tokenizer


def load_letters(file: Path) -> Tokenizer:
    """Return the tokenizer of a sentencepiece model of letters (SpeechT5's spm_char.model).

    Where added_tokens.json lies beside it, that says which ids mask and CTC's blank have; an id between the letters and
    them belongs to nothing. Otherwise they follow the letters.

    Raises:
        ValueError: it is no such model, a piece is more than a letter, or added_tokens.json names other tokens or ids.
    """
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise ImportError(
            "Reading a sentencepiece model needs sentencepiece: pip install 'sonolex[speecht5]'."
        ) from error
    require_file(file, most_bytes=MOST_TOKENIZER_BYTES)
    model = _read_by(lambda: SentencePieceProcessor(model_file=str(file)), file)
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    longer = [
        piece for i, piece in enumerate(pieces) if len(piece) > 1 and not (model.is_control(i) or model.is_unknown(i))
    ]
    if longer:
        raise ValueError(f"the pieces of {file} must be single letters, but {longer[0]!r} is none.")
    added = file.with_name("added_tokens.json")
    return _letter_tokenizer(pieces, load_object(added) if added.is_file() else None, where=str(added))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer in ``path``: a ``tokenizer.json``, or a folder of a BERT or RoBERTa checkpoint.

    Such a folder holds tokenizer.json, or vocab.json and merges.txt (RoBERTa), vocab.txt (BERT) or spm_char.model
    (SpeechT5).

    Raises:
        FileNotFoundError: none of these files is there.
        ValueError: one of them is broken, or its tokenizer lacks RoBERTa's and BERT's special tokens.
    """
    from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, Tokenizer

    path = Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        tokenizer = _read_by(lambda: Tokenizer.from_file(str(file)), file)
        # A sentence model's file may pad every text to 128 tokens and cut longer ones in silence; batches pad here.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        require_bounded(tokenizer, file)
        return _complete(tokenizer, file)
    vocab, merges, words = path / "vocab.json", path / "merges.txt", path / "vocab.txt"
    if vocab.is_file() and merges.is_file():
        # Only the model is kept: whether a token begins a word is decided by the text, as in training.
        wrapper = _read_by(lambda: ByteLevelBPETokenizer(str(vocab), str(merges)), vocab, merges)
        return _complete(wrapper._tokenizer, vocab)  # type: ignore[attr-defined]
    if words.is_file():
        settings = path / "tokenizer_config.json"
        lowercase = not settings.is_file() or load_object(settings).get("do_lower_case", True)
        if not isinstance(lowercase, bool):
            raise ValueError(f"`do_lower_case` must be true or false, but is {lowercase!r:.40} ({settings}).")
        wrapper = _read_by(lambda: BertWordPieceTokenizer(str(words), lowercase=lowercase), words)
        return _complete(wrapper._tokenizer, words)  # type: ignore[attr-defined]
    if (path / "spm_char.model").is_file():
        return load_letters(path / "spm_char.model")
    raise FileNotFoundError(
        f"`path` must hold tokenizer.json, vocab.txt, spm_char.model, or vocab.json with merges.txt, but {path} does "
        "not. Name the folder that was saved with the model."
    )


def _read_by(read: Callable[[], Any], *files: Path) -> Any:
    """Return what ``read`` makes of files of limited size; any error becomes a ValueError that names the first file."""
    for file in files:
        require_file(file, most_bytes=MOST_TOKENIZER_BYTES)
    try:
        return read()
    except Exception as e:  # tokenizers raises Exception itself
        reason = str(e).strip().partition("\n")[0]
        raise ValueError(f"{files[0]} must be a tokenizer, but cannot be read: {reason}. Copy it again.") from None


def _complete(tokenizer: Tokenizer, file: Path) -> Tokenizer:
    """Return the tokenizer if its ids count from 0 without a gap, so that a table of as many rows holds them all."""
    ids = tokenizer.get_vocab().values()
    if not ids:
        raise ValueError(f"{file} must hold a vocabulary, but has none. Copy it again.")
    if len(set(ids)) != len(ids) or max(ids) != len(ids) - 1:
        raise ValueError(
            f"{file} must number its {len(ids)} tokens from 0 to {len(ids) - 1}, but has ids up to {max(ids)}."
        )
    unknown = getattr(tokenizer.model, "unk_token", None)
    # BPE may spell any text in bytes, and never needs the unknown token; a model of words looks into its own table.
    known = tokenizer.get_vocab(with_added_tokens=type(tokenizer.model).__name__ == "BPE")
    if unknown is not None and unknown not in known:
        raise ValueError(f"{file} must have its token for unknown words, {unknown!r:.40}, in its vocabulary.")
    try:
        special_ids(tokenizer)
    except ValueError as e:
        raise ValueError(f"{file}: {e}") from None
    return tokenizer


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of ``text`` between start and end token. Raises ValueError if the tokenizer cannot read it."""
    special = special_ids(tokenizer)
    try:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
    except Exception as e:  # tokenizers raises Exception itself
        raise ValueError(f"text must be readable for the model's tokenizer, but {text!r:.60} is not: {e}") from None
    return [special.start, *ids, special.end]
