"""Tell what a released checkpoint is, which systems take it, and what of it they would use."""

from __future__ import annotations

import argparse

from sonolex.cli._parsing import Verb
from sonolex.terminal import say, visible

VERB = Verb("train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="file, folder or hub:ORG/NAME")
    parser.add_argument("--keys", action="store_true", help="also name the tensors that would not be used")


def run(arguments: argparse.Namespace) -> None:
    from sonolex.doors.inspect import inspected

    checkpoint = inspected(arguments.checkpoint)
    say(visible(f"{checkpoint.path}: {checkpoint.title}"))
    say(f"{checkpoint.num_tensors} tensors, {checkpoint.num_values:,} values ({', '.join(checkpoint.dtypes)})")
    for use in checkpoint.uses:
        place = f'  {use.system}, pretrained={{"{use.part}": …}}:'
        if use.problem:
            say(visible(f"{place} {use.problem}"))
        elif not use.counted:
            say(f"{place} which tensors are used depends on the sizes of the run, whose journal lists them")
        else:
            say(f"{place} {len(use.used)} used, {len(use.unused)} not, {len(use.missing)} missing")
        for key in use.unused if arguments.keys else ():
            say(visible(f"    not used: {key}"))
        for key in use.missing:
            say(visible(f"    missing: {key}"))
    if not checkpoint.uses:
        say("  no system of sonolex takes it")
