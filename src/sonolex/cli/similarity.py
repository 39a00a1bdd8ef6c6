"""Compare a model's states of speech with those of its text, layer by layer."""

from __future__ import annotations

import argparse
from pathlib import Path

from sonolex.cli._models import add_model_and_protocol, scoring_options
from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("judge", computes=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_and_protocol(parser)
    parser.add_argument("--out", help="folder for similarity.json and its picture")


def run(arguments: argparse.Namespace) -> None:
    from sonolex.results.plots import plot_similarity
    from sonolex.studies.similarity import similarity, similarity_lines

    rows = similarity(arguments.model, arguments.protocol, **scoring_options(arguments))
    say("\n".join(similarity_lines(rows)))
    if arguments.out:
        say(f"{Path(arguments.out) / 'similarity.json'}, {plot_similarity(arguments.out)}")
