"""Make a manifest of a corpus in its official layout."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from sonolex.cli._own_options import options_of
from sonolex.cli._parsing import Verb
from sonolex.configs import find_module, module_names
from sonolex.terminal import say

VERB = Verb("your data", asks=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help=", ".join(module_names("data.corpora")))
    parser.add_argument("--root", help="folder of the unpacked release (default: the corpus under $SONOLEX_DATA)")
    parser.add_argument("--out", help="manifest to write: .arrow, .parquet, .csv or .jsonl")


def run(arguments: argparse.Namespace) -> None:
    prepare, name = own_options(arguments)
    manifest = prepare(arguments.root, **options_of(prepare, arguments.rest, of=name)).with_durations()
    say(manifest)
    if arguments.out:
        say(manifest.write(arguments.out))


def own_options(arguments: argparse.Namespace) -> tuple[Callable[..., Any], str]:
    """Return the function that reads the corpus, and its name for messages."""
    return find_module("data.corpora", arguments.corpus, trust_code=True).prepare, f"corpus {arguments.corpus}"
