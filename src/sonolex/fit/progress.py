"""A bar for what takes longer than a moment, which leaves its last line behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SILENT_S = 2.0


@contextmanager
def steps(name: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Context: call what it gives once a step; a bar is shown on the error stream if all takes over two seconds."""
    if quiet:
        yield lambda: None
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

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))
    line, began = bar.add_task(name, total=total), time.monotonic()

    def advance() -> None:
        bar.update(line, advance=1)
        if not bar.live.is_started and time.monotonic() - began > SILENT_S:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
