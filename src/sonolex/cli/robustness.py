"""Score a trained model under noise, reverberation and speed change."""

from __future__ import annotations

import argparse

from sonolex.cli._models import add_model_and_protocol, scoring_options
from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("judge", computes=True)
SWEEPS = ("noise", "reverberation", "speed")  # those of audio; "words" is for models that read text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_and_protocol(parser)
    parser.add_argument("--out", help="folder for robustness.json; that of a run puts the curves into its report")
    parser.add_argument("--sweeps", nargs="+", default=SWEEPS, help=f"some of {', '.join(SWEEPS)}, words")


def run(arguments: argparse.Namespace) -> None:
    from sonolex.studies.robustness import robustness, robustness_lines

    results = robustness(arguments.model, arguments.protocol, sweeps=arguments.sweeps, **scoring_options(arguments))
    say("\n".join(robustness_lines(results)))
