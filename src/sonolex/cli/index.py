"""Embed every recording in a folder for `search`; recordings that the index already has are not read again."""

from __future__ import annotations

import argparse

from sonolex.cli._models import PLACES, add_trust_code
from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("use", computes=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="folder of recordings, searched with all its subfolders")
    parser.add_argument("--model", required=True, help=f"{PLACES} of a system that aligns")
    parser.add_argument("--out", required=True, help="folder for the index")
    add_trust_code(parser)


def run(arguments: argparse.Namespace) -> None:
    from sonolex.doors.search import build_index

    options = {"device": arguments.device, "trust_code": arguments.trust_code}
    added, total = build_index(arguments.folder, model=arguments.model, out=arguments.out, **options)
    say(f"{arguments.out}: {total} recordings, {added} of them new")
