"""Download and unpack a corpus whose licence allows it; the same command goes on where it stopped."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from sonolex.cli._parsing import Verb
from sonolex.terminal import say, visible

VERB = Verb("your data")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="a corpus that names its addresses, e.g. ravdess")
    parser.add_argument("--out", required=True, help="folder for the release")
    mirror = "address of a folder with the same files (and, if it has one, md5sums.txt)"
    parser.add_argument("--mirror", help=mirror)


def run(arguments: argparse.Namespace) -> None:
    from rich.progress import Progress, TextColumn

    from sonolex.data.download import download_corpus

    name = TextColumn("{task.description}", markup=False)
    with Progress(name, *Progress.get_default_columns()[1:], transient=True) as bar:
        lines: dict[str, Any] = {}

        def progress(name: str, done: int, total: int) -> None:
            if name not in lines:
                lines[name] = bar.add_task(visible(name), total=total or None)
            bar.update(lines[name], completed=done)

        folder = download_corpus(arguments.corpus, arguments.out, mirror=arguments.mirror, progress=progress)
    say(f"{folder}. Next: sonolex prepare {arguments.corpus} --root {shlex.quote(str(folder))}")
