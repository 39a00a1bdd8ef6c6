"""Search over a recipe's settings; several of these commands share one study, and resume the trials of a killed one."""

from __future__ import annotations

import argparse
from pathlib import Path

from sonolex.cli import _recipes
from sonolex.cli._own_options import options_of
from sonolex.cli._parsing import Verb
from sonolex.configs import module_names
from sonolex.terminal import say

VERB = Verb("train", computes=True, trains=True, asks=True)
own_options = _recipes.own_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help=", ".join(module_names("recipes")))
    parser.add_argument(
        "--space",
        nargs="+",
        required=True,
        metavar="NAME=VALUES",
        help="what to search: a keyword of the recipe or a field of its run, as LOW:HIGH, LOW:HIGH:log or A,B,C, "
        "e.g. optim.lr=1e-4:1e-2:log config.num_layers=1:4 optim.schedule=linear,cosine",
    )
    parser.add_argument("--run", default="", help="which run of the recipe (default: the last)")
    parser.add_argument("--trials", type=int, default=30, help="finished trials of the whole study (default: 30)")
    parser.add_argument("--storage", default="", help="database of optuna; default: a file in the folder")
    parser.add_argument("--no-prune", action="store_true", help="train every trial to its end")
    parser.add_argument("--out", help=f"folder of the study (default: {_recipes.DEFAULT_OUT}/RECIPE-sweep)")
    parser.add_argument("--tiny", action="store_true", help="the recipe at a size that trains in seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> None:
    from sonolex.results.plots import plot_sweep
    from sonolex.train.sweep import parse_choice, sweep

    recipe, name = own_options(arguments)
    folder = Path(arguments.out or f"{_recipes.DEFAULT_OUT}/{arguments.recipe}-sweep")
    summary = sweep(
        recipe,
        [parse_choice(c) for c in arguments.space],
        folder,
        options=options_of(recipe, arguments.rest, of=name),
        run=arguments.run,
        trials=arguments.trials,
        storage=arguments.storage,
        prune=not arguments.no_prune,
        seed=arguments.seed,
        device=arguments.device,
        quiet=arguments.quiet,
    )
    say(f"best on the selection part: {summary['value']:.4f} with {summary['best']}")
    say("importance: " + ", ".join(f"{n} {v:.2f}" for n, v in summary["importance"].items()))
    say(f"{folder / 'sweep.json'}, {plot_sweep(folder)}")
