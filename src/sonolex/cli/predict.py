"""Print one line of JSON for each recording, row of a table or text, in order and as soon as it is ready."""

from __future__ import annotations

import argparse

from sonolex.cli._models import add_model_and_inputs, inputs_of, loaded
from sonolex.cli._parsing import Verb

VERB = Verb("use", computes=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_and_inputs(parser)
    parser.add_argument("--top", type=int, help="show only this many classes")
    parser.add_argument(
        "--on-error",
        choices=("stop", "record"),
        default="stop",
        help="at an input that cannot be used, stop (default), or record the error in its line, go on, and end with "
        "code 1",
    )
    parser.add_argument(
        "--long",
        choices=("refuse", "window"),
        default="refuse",
        help="a recording beyond the model's longest clip is an error (default), or is cut into windows",
    )
    window = "with --long window: their length (default: that of the longest training clip)"
    parser.add_argument("--window-s", type=float, help=window)
    hop = "with --long window: from one to the next (default: no overlap)"
    parser.add_argument("--hop-s", type=float, help=hop)
    parser.add_argument(
        "--pool",
        choices=("mean", "each"),
        default="mean",
        help="with --long window: one answer by the mean of the windows' scores (default), or each window's own line",
    )


def run(arguments: argparse.Namespace) -> int:
    from sonolex.doors.predicting import print_answers, say_failures

    model = loaded(arguments)
    model.require_tasks()
    options = {name: getattr(arguments, name) for name in ("top", "long", "window_s", "hop_s", "pool")}
    failed = print_answers(model, inputs_of(arguments, model), stop=arguments.on_error == "stop", **options)
    if failed:
        say_failures(failed, "sonolex predict")
    return 1 if failed else 0
