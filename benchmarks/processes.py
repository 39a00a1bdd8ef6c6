"""Several processes through the command line: they finish, they train what one does, and they end together.

    python -m benchmarks processes

Twenty launches of three recipes on two and three processes, against the same command on one; then ten launches of which
one process is killed (SIGKILL) at a random moment, and the same command again. Linux, two free cores: half an hour.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks._timing import claim
from benchmarks._torchrun import largest_difference, seconds_until_ended, started, weights, workers

ONLY_WHEN_NAMED = True
RECIPES = ("quickstart", "vcr_ast_thesis", "calm_sentences")
LAUNCHES = 20
KILLS = 10
MOST_DIFFERENT = 1e-5
MOST_SECONDS = 10.0
MESSAGES = ("another process of this training ended", "stopped by torchrun")


@dataclass(frozen=True)
class Launch:
    """One command that ran to its end, or to a kill."""

    recipe: str
    processes: int
    folder: Path

    @property
    def words(self) -> list[str]:
        return ["train", "benchmarks._few_steps", "--of", self.recipe, "--quiet", "--out", str(self.folder)]


def run() -> None:
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        alone = {recipe: Launch(recipe, 1, base / "alone" / recipe) for recipe in RECIPES}
        for launch in alone.values():
            if _finish(launch)[0]:
                raise RuntimeError(f"{launch.recipe} must end on one process, but does not.")
        whole = _launches(base, alone)
        _kills(base, whole)


def _launches(base: Path, alone: dict[str, Launch]) -> dict[tuple[str, int], tuple[Launch, float]]:
    """Return a finished launch of every recipe on two and three processes, and how long it took."""
    kinds = [(recipe, processes) for recipe in RECIPES for processes in (2, 3)]
    finished, largest, first = 0, 0.0, {}
    for number in range(LAUNCHES):
        recipe, processes = kinds[number % len(kinds)]
        launch = Launch(recipe, processes, base / f"launch-{number}")
        code, seconds, said = _finish(launch)
        if code:
            print(f"  {recipe} on {processes}: exit code {code}: {said[-500:]}", flush=True)
            continue
        finished += 1
        difference = largest_difference(launch.folder, alone[recipe].folder)
        largest = max(largest, difference)
        print(f"  {recipe} on {processes}: {seconds:.0f} s, weights within {difference:.1e} of one process", flush=True)
        first.setdefault((recipe, processes), (launch, seconds))
    claim(f"launches of {LAUNCHES} that finished", finished, LAUNCHES)
    claim("largest difference of a weight, in units of 1e-5", largest / MOST_DIFFERENT, 1.0, at_least=False)
    return first


def _kills(base: Path, whole: dict[tuple[str, int], tuple[Launch, float]]) -> None:
    drawn = random.Random(0)
    kinds, slowest, told, same, number = list(whole), 0.0, 0, 0, 0
    for attempt in range(10 * KILLS):
        if number == KILLS:
            break
        recipe, processes = kinds[number % len(kinds)]
        complete, duration_s = whole[recipe, processes]
        launch = Launch(recipe, processes, base / f"kill-{attempt}")
        launcher = started(launch.words, processes)
        pids, victim, moment_s = workers(launcher, processes), drawn.randrange(processes), drawn.random() * duration_s
        time.sleep(moment_s)
        try:
            os.kill(pids.pop(victim), signal.SIGKILL)
        except ProcessLookupError:  # it was done before
            launcher.communicate()
            continue
        seconds = seconds_until_ended(list(pids.values()))
        said = launcher.communicate()[0]
        number, slowest = number + 1, max(slowest, seconds)
        spoken = any(message in said for message in MESSAGES)
        told += spoken and launcher.returncode != 0
        code, _, again = _finish(launch)
        ours, theirs = weights(launch.folder), weights(complete.folder)
        equal = not code and ours.keys() == theirs.keys() and all(_equal(ours[n], theirs[n]) for n in ours)
        same += equal
        print(f"  {recipe} on {processes}, rank {victim} killed after {moment_s:.0f} s:", end=" ")
        print(f"the others ended in {seconds:.1f} s {'with' if spoken else 'without'} a message;", end=" ")
        print(f"again: {'the same bits' if equal else f'OTHER BITS {again[-500:]}'}", flush=True)
        if not spoken:
            print(f"  they said: {said[-3000:]}", flush=True)
    claim("most seconds until the others ended", slowest, MOST_SECONDS, at_least=False)
    claim(f"kills of {KILLS} after which the others said so", told, KILLS)
    claim(f"kills of {KILLS} after which the same command gave the same bits", same, KILLS)


def _finish(launch: Launch) -> tuple[int, float, str]:
    """Return a command's exit code, seconds and last words."""
    begun = time.monotonic()
    launcher = started(launch.words, launch.processes)
    said = launcher.communicate()[0]
    return launcher.returncode, time.monotonic() - begun, said


def _equal(ours: object, theirs: object) -> bool:
    return isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor) and torch.equal(ours, theirs)
