"""Fill a table of runs and print it: scores, floors, published numbers, and which differences are clear."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from sonolex.cli import _recipes
from sonolex.cli._parsing import Verb
from sonolex.configs import find_module
from sonolex.files import write_text
from sonolex.terminal import say
from sonolex.train.group import is_first

VERB = Verb("train", computes=True, trains=True, shared=True, asks=True)
own_options = _recipes.own_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="ctal4, calm_tables, or any other recipe")
    parser.add_argument("--out", help=f"folder of the runs (default: {_recipes.DEFAULT_OUT}/RECIPE)")
    parser.add_argument("--tiny", action="store_true", help="a size that trains in seconds")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--processes", type=int, default=1, help="that share the runs (default: 1)")
    against = "row that the others are compared with (default: the recipe's)"
    parser.add_argument("--against", metavar="ROW", help=against)


def run(arguments: argparse.Namespace) -> None:
    from sonolex.results.compare import compare_runs, markdown_tables, text_tables, time_lines
    from sonolex.results.paired import difference_lines

    runs, folder = _recipes.runs_of_recipe(arguments), _recipes.folder_of_runs(arguments)
    _recipes.train_shared(arguments, runs, folder)
    if not is_first():
        return
    kinds = {task.kind for r in runs for task in r.tasks}  # their code may run, because the user named the recipe
    tables, times = compare_runs([folder], own=kinds), time_lines([folder])
    module = find_module("recipes", arguments.recipe, trust_code=True)
    against = arguments.against or getattr(module, "AGAINST", "")
    published = [f"  {row}: {values}" for row, values in getattr(module, "PUBLISHED", {}).items()]
    published = ["", "published, on the paper's corpora:", *published] if published else []
    paired = [t for t in tables if any(r.name == against for r in t.rows)]
    say(text_tables(tables), *difference_lines(paired, against), "", *times, *published, sep="\n")
    lines = [markdown_tables(tables), *difference_lines(paired, against, markdown=True), ""]
    write_text(folder / "table.md", "\n".join([*lines, *_fenced([*times, *published]), ""]))
    say(f"\n{folder / 'table.md'}")


def _fenced(lines: Sequence[str]) -> list[str]:
    """Return lines as a Markdown code block, between fences longer than any in the lines."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *lines, fence]
