"""Train the runs of a recipe; later runs may start from earlier ones by name, and several processes may share them."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from sonolex import terminal
from sonolex.devices import AUTO
from sonolex.locks import holding
from sonolex.train import group
from sonolex.train.loop import train
from sonolex.train.probing import probe
from sonolex.train.run import Run

WAIT_S = 2.0
HELPER = "from sonolex.train.series import helper; helper()"


def train_all(
    runs: Sequence[Run],
    folder: Path,
    *,
    device: str = AUTO,
    quiet: bool = False,
    say: Callable[[str], None] = terminal.say,
) -> list[dict[str, Any]]:
    """Return the results of every run, in ``folder/<run name>``. Finished runs are not repeated, broken ones go on.

    Several commands may share the runs and the folder: each takes the next run that no other one has, once the run it
    starts from is finished. A killed command loses at most the steps since its run's last checkpoint. The processes
    that torchrun started for one command all take the same run, and the first of them prints.

    Raises:
        ValueError: two runs of one name, or runs that start from themselves or each other.
    """
    names = [r.name for r in runs]
    if len(set(names)) != len(names):
        raise ValueError(f"runs of a recipe must have different names, but are {names}.")
    group.join()
    results: dict[str, dict[str, Any]] = {}
    while len(results) < len(runs):
        elsewhere = False
        for number, run in enumerate(runs, start=1):
            if run.name in results or (run.init_from in names and run.init_from not in results):
                continue
            with _taken(folder, run.name) as free:
                if not free:
                    elsewhere = True
                    continue
                earlier = {n: folder / n for n in results}
                results[run.name] = result = _trained(run, folder / run.name, earlier, device, quiet)
            if group.is_first():
                say(f"[{number}/{len(runs)}] {run.name}: {one_line(result)}")
            break
        else:
            if not elsewhere:
                cyclic = [n for n in names if n not in results]
                raise ValueError(f"runs must not start from themselves or each other, but {', '.join(cyclic)} do.")
            time.sleep(WAIT_S)
    return [results[name] for name in names]


@contextmanager
def _taken(folder: Path, name: str) -> Iterator[bool]:
    """Context: yield whether no other command has this run; the first process locks it for all of this command."""
    with ExitStack() as kept:
        yield group.said_by_first(lambda: kept.enter_context(holding(folder, name, wait=False)))


def _trained(run: Run, place: Path, earlier: Mapping[str, Path], device: str, quiet: bool) -> dict[str, Any]:
    if run.frozen_classifier != "none":  # several processes have no training to share
        return group.said_by_first(lambda: probe(run, place, earlier=dict(earlier), device=device))
    return train(run, place, earlier=dict(earlier), device=device, quiet=quiet)


@contextmanager
def helpers(words: Sequence[str], count: int) -> Iterator[None]:
    """Run ``sonolex`` with these words in ``count`` more processes meanwhile, each with this one's number of threads.

    They end with this process, even if it is killed: each reads a pipe whose other end only this process holds.

    Raises:
        ValueError: one of them failed (the message ends with its error output), or torchrun started several already.
    """
    if count and group.world_size() > 1:
        raise ValueError(
            f"`--processes` must be 1 under torchrun, whose {group.world_size()} processes share every run, but is "
            f"{count + 1}. Leave one of the two out."
        )
    threads = torch.get_num_threads()
    command, environment = [sys.executable, "-c", HELPER, *words], os.environ | {"OMP_NUM_THREADS": str(threads)}
    with ExitStack() as opened:
        started = []
        for _ in range(count):
            stderr = opened.enter_context(tempfile.TemporaryFile("w+"))
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": stderr}
            process = opened.enter_context(subprocess.Popen(command, **pipes, env=environment))
            opened.callback(process.terminate)  # before Popen's own end, which waits for it
            started.append((process, stderr))
        yield
        for process, stderr in started:
            if process.wait():
                stderr.seek(0)
                raise ValueError(f"a process of {' '.join(words[:2])} failed: {stderr.read().strip()[-500:]}")


def helper() -> None:
    """Be one of `helpers`: run ``sonolex`` with the words of the command line, and end when the parent has ended."""
    Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module("sonolex", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    os.read(0, 1)  # the parent writes nothing: this returns when it has closed its end of the pipe, or has ended
    os._exit(1)


def one_line(result: dict[str, Any]) -> str:
    """Return a result's primary numbers and time as one line."""
    parts = [f"{result['train_s']:.0f} s"]
    for task, values in result.get("scores", {}).items():
        name = result.get("primary") if result.get("primary") in values else next(iter(values), None)
        if name is not None:
            parts.append(f"{task} {name} {values[name]:.3f}")
    if not result.get("scores") and "losses" in result:
        parts.append(f"loss {result['losses']['total']:.3f}")
    return ", ".join(parts)
