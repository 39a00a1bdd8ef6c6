"""Functions shared by the verbs that take a recipe: train, table, sweep."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sonolex.cli._own_options import options_of
from sonolex.configs import find_module
from sonolex.devices import AUTO
from sonolex.train.group import first_alone, said_once

DEFAULT_OUT = "runs"


def own_options(arguments: argparse.Namespace) -> tuple[Callable[..., Any], str]:
    """Return the function that makes a recipe's runs, at the size the user chose, and its name for messages."""
    module = find_module("recipes", arguments.recipe, trust_code=True)
    name = f"recipe {arguments.recipe}" + (" with --tiny" if arguments.tiny else "")
    return (module.tiny if arguments.tiny else module.recipe), name


def runs_of_recipe(arguments: argparse.Namespace) -> Sequence[Any]:
    """Return the runs of the recipe, with the remaining words as its options."""
    recipe, name = own_options(arguments)
    with said_once():
        options = options_of(recipe, arguments.rest, of=name)
    with first_alone():  # a recipe may read its corpus, which may have to be generated first
        return recipe(**options)


def folder_of_runs(arguments: argparse.Namespace) -> Path:
    """Return the folder of the recipe's runs."""
    return Path(arguments.out or f"{DEFAULT_OUT}/{arguments.recipe}")


def train_shared(arguments: argparse.Namespace, runs: Sequence[Any], folder: Path) -> None:
    """Train runs in ``--processes`` processes; each takes runs that no other has taken."""
    from sonolex.train.series import helpers, train_all

    words = ["train", arguments.recipe, "--out", str(folder), "--quiet"]
    words += [*(["--tiny"] if arguments.tiny else []), *computing_words(arguments)]
    with helpers([*words, *arguments.rest], arguments.processes - 1):
        train_all(runs, folder, device=arguments.device, quiet=arguments.quiet)


def computing_words(arguments: argparse.Namespace) -> list[str]:
    """Return the user's ``--device`` and ``--threads`` as words for another process."""
    threads = [] if arguments.threads is None else ["--threads", str(arguments.threads)]
    return [*([] if arguments.device == AUTO else ["--device", arguments.device]), *threads]
