"""Progress of a command on the error stream, once it takes over two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SILENT_S = 2.0


@contextmanager
def counting(
    what: str, total: int | None = None, *, quiet: bool = False, kept: bool = False
) -> Iterator[Callable[[float], None]]:
    """Context: a function that counts items; a terminal shows a bar until the end.

    Nothing goes to the standard output, which may be a file of answers, and none of it is redirected.

    Args:
        what: name of the items; never text from a file.
        total: how many there are; None if that is not known yet.
        quiet: never show anything.
        kept: the bar's last line stays, also where the error stream is a file.
    """
    if quiet or not (kept or sys.stderr.isatty()):
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = Console(stderr=True)
    bar = Progress(
        *columns, TimeRemainingColumn(), console=shown, transient=not kept, redirect_stdout=False, redirect_stderr=False
    )
    line, began = bar.add_task(what, total=total), time.monotonic()

    def advance(amount: float) -> None:
        bar.update(line, advance=amount)
        if not bar.live.is_started and time.monotonic() - began > SILENT_S:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
