"""`sonolex predict`: items in, one line of JSON out for each, in the same order, written as soon as it is ready."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sonolex.doors.answering import Item
from sonolex.doors.api import Answer, Pipeline
from sonolex.doors.inputs import Asked
from sonolex.progress import counting
from sonolex.terminal import say, say_json

FIELDS = ("input", "table", "row", "line", "id", "error", "windows", "start_s", "end_s")  # of a line, besides the tasks


def print_answers(model: Pipeline, inputs: Iterable[Asked], *, stop: bool, **options: Any) -> int:
    """Print a line for each item (or window) and return how many items could not be used.

    Args:
        stop: raise the first error, after printing the answers before it.
        options: ``top``, ``long``, ``window_s``, ``hop_s`` and ``pool`` of `Pipeline.predict`.

    Raises:
        ValueError: with ``stop``, an unusable item; and as `Pipeline.predict_each`.
    """
    waiting: deque[Mapping[str, Any]] = deque()
    names = {name: _field(name) for name in model.tasks}
    windows = model.windows(options["long"], **{n: options[n] for n in ("window_s", "hop_s", "pool")})
    cut = {} if windows is None else {"window_s": windows.window_s, "hop_s": windows.hop_s, "pooled": "mean"}
    failed = 0
    with counting("answers", quiet=sys.stdout.isatty()) as advance:  # there, the lines themselves show it
        for answer in model.predict_each(_queued(inputs, waiting), **options):
            if answer.error is not None and stop:
                raise answer.error
            failed += answer.error is not None
            for line in _lines(answer, waiting.popleft(), names, cut):
                say_json(line)
            sys.stdout.flush()
            advance(1)
    return failed


def _queued(inputs: Iterable[Asked], waiting: deque[Mapping[str, Any]]) -> Iterator[Item]:
    """Yield the items, and queue the fields of each until its answer arrives."""
    for one in inputs:
        waiting.append(one.said)
        yield one.item


def _lines(
    answer: Answer, fields: Mapping[str, Any], names: Mapping[str, str], cut: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    if answer.error is not None:
        yield {**fields, "error": str(answer.error)}
    elif answer.each:
        for window in answer.each:
            times = {"start_s": round(window["start_s"], 6), "end_s": round(window["end_s"], 6)}
            yield {**fields, **times, **{names[task]: v for task, v in window["answers"].items()}}
    else:
        pooled = {"windows": {"count": answer.windows, **cut}} if cut else {}
        yield {**fields, **pooled, **{names[task]: v for task, v in answer.tasks.items()}}


def _field(task: str) -> str:
    """Return the field of a task's answer in a line: its name, with "_" appended if lines already have that field."""
    return f"{task}_" if task in FIELDS else task


def say_failures(failed: int, program: str) -> None:
    """Print on the error stream how many items could not be used."""
    what = "1 input could not be used" if failed == 1 else f"{failed:,} inputs could not be used"
    say(f"{program}: {what}; their lines say why (field 'error')", file=sys.stderr)
