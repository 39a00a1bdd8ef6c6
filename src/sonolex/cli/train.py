"""Train the runs of a recipe; the same command again goes on where it stopped."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from sonolex.cli import _recipes
from sonolex.cli._parsing import Verb
from sonolex.configs import module_names
from sonolex.terminal import say
from sonolex.train.group import is_first

VERB = Verb("train", computes=True, trains=True, shared=True, asks=True)
own_options = _recipes.own_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help=", ".join(module_names("recipes")))
    parser.add_argument("--out", help=f"folder of the runs (default: {_recipes.DEFAULT_OUT}/RECIPE)")
    parser.add_argument("--tiny", action="store_true", help="a size that trains in seconds")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--slurm", metavar="FILE", help="only write an sbatch file that trains, requeues and goes on")
    parser.add_argument("--gpus", type=int, default=0, help="with --slurm: GPUs of the node (default: none)")
    parser.add_argument("--hours", type=int, default=24, help="with --slurm: time limit (default: 24)")
    parser.add_argument("--processes", type=int, default=1, help="that share the runs (default: 1)")


def run(arguments: argparse.Namespace) -> None:
    runs, folder = _recipes.runs_of_recipe(arguments), _recipes.folder_of_runs(arguments)
    if arguments.slurm:
        _write_sbatch(arguments, folder)
        return
    _recipes.train_shared(arguments, runs, folder)
    if is_first():
        say(f"Results are in {folder}. Next: sonolex report {shlex.quote(str(folder))}")


def _write_sbatch(arguments: argparse.Namespace, folder: Path) -> None:
    from sonolex.train.slurm import write_sbatch

    words = ["train", arguments.recipe, "--out", str(folder), *(["--tiny"] if arguments.tiny else [])]
    words += [*_recipes.computing_words(arguments), *arguments.rest]
    say(f"sbatch {write_sbatch(Path(arguments.slurm), words, gpus=arguments.gpus, hours=arguments.hours)}")
