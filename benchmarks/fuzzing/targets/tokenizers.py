"""Tokenizer files, ours and those of BERT and RoBERTa checkpoints."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations, structured
from benchmarks.fuzzing.cases import Mutation

TEXTS = ("it is warm today", "İt's 1,000 €! 😀 \0 \u2028", "x" * 2000)


def warm() -> None:
    import tokenizers  # noqa: F401

    import sonolex.text  # noqa: F401


def make(folder: Path) -> None:
    from sonolex import text

    lines = ["it is warm today", "it is cold, and loud", "soft or quick?"]
    for name, tokenizer in {
        "bytes": text.train_byte_bpe(lines, vocab_size=280),
        "pieces": text.train_wordpiece(lines, vocab_size=200),
        "letters": text.train_letters(lines),
        "symbols": text.train_symbols(lines),
    }.items():
        (folder / name).mkdir()
        tokenizer.save(str(folder / name / "tokenizer.json"))
    bert, roberta = folder / "bert", folder / "roberta"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdeilmortwy", "##a"]))
    (bert / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    roberta.mkdir()
    text.train_byte_bpe(lines, vocab_size=280).model.save(str(roberta))


def mutate(folder: Path, rng: random.Random) -> Mutation:
    file = rng.choice(sorted(folder.iterdir()))
    if file.suffix == ".json" and rng.random() < 0.7:
        return structured.change_json(file, rng)
    return Mutation(mutations.change_bytes(file, rng).what)


def use(folder: Path, out: Path) -> Any:
    from sonolex.text import load_tokenizer, token_ids

    tokenizer = load_tokenizer(folder)
    return [token_ids(tokenizer, t) for t in TEXTS]
