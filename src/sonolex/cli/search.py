"""Find the recordings of an index that are nearest to words or to another recording."""

from __future__ import annotations

import argparse
import sys

from sonolex.cli._models import add_trust_code
from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("use", computes=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", help="folder that `sonolex index` wrote")
    parser.add_argument("words", nargs="?", help="what to look for")
    parser.add_argument("--audio", help="a recording to look for instead")
    parser.add_argument("--model", help="where the index's model is now (default: where it was)")
    parser.add_argument("--top", type=int, default=10, help="how many to show (default: 10)")
    add_trust_code(parser)


def run(arguments: argparse.Namespace) -> None:
    from sonolex.doors.search import SoundIndex

    options = {"device": arguments.device, "trust_code": arguments.trust_code}
    opened = SoundIndex.open(arguments.index, model=arguments.model, **options)
    if arguments.model is None:  # somebody else's index may name any model
        say(f"model, as {arguments.index} names it: {opened.model}", file=sys.stderr)
    for hit in opened.search(text=arguments.words, audio=arguments.audio, top=arguments.top):
        say(f"{hit.similarity:.3f}  {hit.path}")
