"""What happened, as append-only JSON lines; a progress bar; TensorBoard when it is installed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonolex.files import write_text


class Journal:
    """Appends one JSON object per event to ``journal.jsonl`` of a run. Silent on processes other than the first."""

    def __init__(self, folder: Path, *, active: bool = True):
        self.path, self.active, self._started = folder / "journal.jsonl", active, time.time()
        self._board = _tensorboard(folder / "tensorboard") if active else None

    def write(self, event: str, **values: Any) -> None:
        if not self.active:
            return
        line = {"event": event, "time_s": round(time.time() - self._started, 3), **values}
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
        if self._board is not None and "step" in values:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{event}/{name}", value, values["step"])

    def write_bad_clips(self, by_process: Sequence[Mapping[str, str]], *, step: int) -> None:
        """List clips that cannot be used, with what is wrong with them, in ``bad_clips.jsonl``."""
        bad = {clip_id: problem for found in by_process for clip_id, problem in found.items()}
        if bad and self.active:
            lines = (json.dumps({"clip_id": clip_id, "problem": problem}) for clip_id, problem in bad.items())
            write_text(self.path.with_name("bad_clips.jsonl"), "".join(f"{line}\n" for line in lines))
            self.write("bad_clips", step=step, count=len(bad))

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


@contextmanager
def progress_bar(name: str, num_steps: int, *, done: int, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar of optimiser steps inside; the function it gives takes each step's loss."""
    if quiet:
        yield lambda loss: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("loss {task.fields[loss]:.3f}"), transient=True) as bar:
        task = bar.add_task(name, total=num_steps, completed=done, loss=float("nan"))
        yield lambda loss: bar.update(task, advance=1, loss=loss)


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the events of a run; a half-written last line (killed run) is left out."""
    path = folder / "journal.jsonl"
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return events


def training_curve(folder: Path, event: str, name: str) -> tuple[list[int], list[float]]:
    """Return steps and values of one journaled number; a resumed run's repeated steps count once, the last time."""
    by_step = {e["step"]: e[name] for e in read_journal(folder) if e["event"] == event and name in e}
    steps = sorted(by_step)
    return steps, [by_step[s] for s in steps]


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
