"""Show what is kept on this machine (floors, features, generated corpora), where and up to which size; or clear it."""

from __future__ import annotations

import argparse

from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("this machine")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = "remove floors, features, a generated corpus by its name, or all"
    parser.add_argument("--clear", metavar="NAME", help=kinds)


def run(arguments: argparse.Namespace) -> None:
    from sonolex.cache import cache_lines, clear

    if arguments.clear is None:
        say("\n".join(cache_lines()))
        return
    gone = clear(arguments.clear)
    say(f"cleared {', '.join(k.name for k in gone) or 'nothing'}: {sum(k.num_bytes for k in gone) / 1e6:,.1f} MB")
