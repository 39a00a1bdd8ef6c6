"""Print tables of runs, and differences from one row; refuse different fingerprints."""

from __future__ import annotations

import argparse

from sonolex.cli._models import add_trust_code
from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("judge")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--markdown", action="store_true", help="as Markdown")
    times = "also print the training time per clip, pre-training included"
    parser.add_argument("--times", action="store_true", help=times)
    against = "also print the paired difference of every row from this one"
    parser.add_argument("--against", metavar="ROW", help=against)
    add_trust_code(parser, files="the runs' files")


def run(arguments: argparse.Namespace) -> None:
    from sonolex.results.compare import compare_runs, markdown_tables, text_tables, time_lines
    from sonolex.results.paired import difference_lines

    tables = compare_runs(arguments.runs, trust_code=arguments.trust_code)
    say((markdown_tables if arguments.markdown else text_tables)(tables))
    if arguments.times:
        say("\n".join(["", *time_lines(arguments.runs)]))
    if arguments.against:
        say("\n".join(difference_lines(tables, arguments.against, markdown=arguments.markdown)))
