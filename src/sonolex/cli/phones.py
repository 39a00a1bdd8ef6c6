"""Write how transcripts are pronounced: phones from a lexicon in CMUdict's format, or from espeak-ng."""

from __future__ import annotations

import argparse

from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("your data")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", help="manifest with transcripts")
    parser.add_argument("--lexicon", help="file in CMUdict's format")
    parser.add_argument("--voice", help="of espeak-ng (en-us, de), for all words or for those the lexicon lacks")
    parser.add_argument("--out", required=True, help="manifest to write")


def run(arguments: argparse.Namespace) -> None:
    from sonolex.annotate.phones import add_phones

    filled = add_phones(arguments.manifest, out=arguments.out, lexicon=arguments.lexicon, voice=arguments.voice)
    say(f"{filled}. Written to {arguments.out}")
