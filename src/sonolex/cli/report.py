"""Write report.html and print its tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from sonolex.cli._models import add_trust_code
from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("judge")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("--out", help="page to write (default: report.html in the first folder)")
    add_trust_code(parser, files="the runs' files")


def run(arguments: argparse.Namespace) -> None:
    from sonolex.results.compare import compare_runs, text_tables
    from sonolex.results.report import write_html

    say(text_tables(compare_runs(arguments.runs, trust_code=arguments.trust_code)))
    out = arguments.out or Path(arguments.runs[0]) / "report.html"
    say(f"\n{write_html(arguments.runs, out, trust_code=arguments.trust_code)}")
