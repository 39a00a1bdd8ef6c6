"""The events of a run, as append-only JSON lines; a progress bar; TensorBoard when it is installed."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sonolex.files import append_line, drop_half_line, write_text
from sonolex.terminal import visible
from sonolex.train.board import Board

T = TypeVar("T")
MOST_BYTES = 1 << 30
MOST_LINE_BYTES = 1 << 20


class Journal:
    """Appends one JSON object per event to ``journal.jsonl`` of a run. Silent on processes other than the first."""

    def __init__(self, folder: Path, *, active: bool = True):
        self.path, self.active, self._started = folder / "journal.jsonl", active, time.time()
        if active:
            drop_half_line(self.path)
        self._board = _board(folder / "tensorboard") if active else None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the journal was opened."""
        return round(time.time() - self._started, 3)

    def write(self, event: str, measured: Mapping[str, float] | None = None, /, **values: Any) -> None:
        """Append one event.

        Args:
            measured: numbers, by the user's names of tasks, losses and metrics; a name that is already a field of the
                line gets " (measured)" after it.
        """
        if not self.active:
            return
        fields = {"event": event, "time_s": self.elapsed_s, **values}
        named = {f"{name} (measured)" if name in fields else name: value for name, value in (measured or {}).items()}
        line, values = fields | named, values | named
        append_line(self.path, json.dumps(line))
        if self._board is not None and "step" in values:
            numbers = {f"{event}/{name}": value for name, value in values.items() if isinstance(value, float)}
            self._board.write(numbers, step=values["step"])

    def write_bad_clips(self, by_process: Sequence[Mapping[str, str]], *, step: int) -> None:
        """List clips that cannot be used, with their problems, in ``bad_clips.jsonl``."""
        bad = {clip_id: problem for problems in by_process for clip_id, problem in problems.items()}
        if bad and self.active:
            lines = (json.dumps({"clip_id": clip_id, "problem": problem}) for clip_id, problem in bad.items())
            write_text(self.path.with_name("bad_clips.jsonl"), "".join(f"{line}\n" for line in lines))
            self.write("bad_clips", step=step, count=len(bad))


@contextmanager
def progress_bar(
    name: str, num_steps: int, *, num_epochs: int, done: int, quiet: bool
) -> Iterator[Callable[[Mapping[str, Any], float | None], None]]:
    """Show a bar of optimiser steps inside, which leaves its last line behind.

    The yielded function takes the loop's state after each step, and the last known loss. The bar shows the epoch, the
    time left, and the last and the best score on the selection part.
    """
    if quiet:
        yield lambda state, loss: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[status]}", markup=False)) as bar:
        task = bar.add_task(visible(name), total=num_steps, completed=done, status="")

        def advance(state: Mapping[str, Any], loss: float | None) -> None:
            status = [f"epoch {min(state['epoch'] + 1, num_epochs)} of {num_epochs}"]
            status += [] if loss is None else [f"loss {loss:.3f}"]
            if state.get("value") is not None:
                status.append(f"validation {state['value']:.3f} (best {state['best']:.3f})")
            bar.update(task, completed=state["step"], status=", ".join(status))

        yield advance


def waited(state: dict[str, Any], steps: Iterable[T]) -> Iterator[T]:
    """Yield the steps, and add the time until each one's batches are loaded to ``load_s`` of the loop's state.

    ``train_s`` beside it is the time of the steps themselves. A checkpoint of an older version has no ``load_s``; then
    none is counted, so that a partial sum is not taken for the whole.
    """
    started = time.perf_counter()
    for batches in steps:
        if "load_s" in state:
            state["load_s"] += time.perf_counter() - started
        yield batches
        started = time.perf_counter()


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the events of a run; lines that a killed process left half-written are left out. Raises as `events_of`."""
    return list(events_of(folder))


def events_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a run, line by line; half-written lines are left out.

    Raises:
        ValueError: the journal is not a file, is too large, or has lines that are JSON but not events.
    """
    path = folder / "journal.jsonl"
    if not path.exists():
        return
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} must be a file of at most {MOST_BYTES:,} bytes, but is not.")
    with path.open("rb") as f:
        for number in itertools.count(1):
            line = f.readline(MOST_LINE_BYTES)
            if not line:
                return
            try:
                event = json.loads(line)
            except RecursionError:
                event = None
            except ValueError:  # cut by a kill, perhaps with the next process's line behind it
                continue
            if not isinstance(event, dict) or not isinstance(event.get("event"), str):
                raise ValueError(
                    f"{path} must hold an event on each line, but line {number} is not one. Copy it again."
                )
            yield event


def training_curve(folder: Path, event: str, name: str) -> tuple[list[int], list[float]]:
    """Return steps and values of one journaled number; a resumed run's repeated steps count once, the last time.

    Raises:
        ValueError: as `events_of`; a step or value is not a finite number.
    """
    by_step: dict[int, float] = {}
    for line in events_of(folder):
        if line["event"] != event or name not in line:
            continue
        step, value = line.get("step"), line[name]
        if type(step) is not int or type(value) not in (int, float) or not (abs(step) < 1 << 53 and abs(value) < 1e300):
            raise ValueError(
                f"`step` and `{name}` in {folder / 'journal.jsonl'} must be finite numbers, but are "
                f"{repr(step)[:40]} and {repr(value)[:40]}. Copy it again."
            )
        by_step[step] = float(value)
    steps = sorted(by_step)
    return steps, [by_step[s] for s in steps]


def _board(folder: Path) -> Board | None:
    try:
        return Board(folder)
    except ImportError:
        return None
