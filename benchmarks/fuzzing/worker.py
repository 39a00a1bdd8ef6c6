"""The cases of one target, one after another, in one process that has imported what they need."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import shutil
import time
from collections import Counter
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.fuzzing import attacks
from benchmarks.fuzzing.cases import GOOD, Case, Outcome, find_target
from benchmarks.fuzzing.sandbox import Box, Limits, attempt

SAVED_OF_A_BUG = 3  # cases with one kind and place
TOLD_EVERY_S = 0.5


def make_goods(target: str, goods: Path) -> None:
    """Write the good files of a target; runs in a process of its own, because making them starts threads."""
    folder = goods / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    find_target(target).make(folder)


def work(target: str, shard: int, shards: int, plan: dict, out: Path, limits: Limits, connection: Connection) -> None:
    """Run every ``shards``-th case of a target and send counts as they come.

    ``plan`` has the seed, the number of cases, when to end (of `time.monotonic`), and whether there are attacks. Cases
    that end badly are saved under ``out``.
    """
    find_target(target).warm()
    shift = _Shift(target, out, limits, connection, Box(out / "boxes" / f"{target}-{shard}"))
    shift.check_goods()
    gc.collect()
    gc.freeze()  # so that a child does not copy the pages of objects it never touches
    for name in sorted(attacks.of_target(target))[shard::shards] if plan["attacks"] else []:
        shift.run(Case(target, attack=name))
    number = shard
    while number < plan["cases"] and time.monotonic() < plan["ends"]:
        shift.run(Case(target, number, plan["seed"]))
        number += shards
    shift.tell(finished=True)
    shutil.rmtree(shift.box.folder, ignore_errors=True)


class _Shift:
    """Counts, saved cases and the box of one process."""

    def __init__(self, target: str, out: Path, limits: Limits, connection: Connection, box: Box):
        self.target, self.out, self.limits, self.connection, self.box = target, out, limits, connection, box
        self.goods = out / "goods"
        self.counts: Counter[str] = Counter()
        self.bugs: Counter[str] = Counter()
        self.left_out: list[str] = []
        self.peak_mb = self.longest_s = 0.0
        self.told = time.monotonic()

    def check_goods(self) -> None:
        """Give every good file; what it answers is what damaged ones are compared with. Refused ones are left out."""
        for folder in sorted(p for p in (self.goods / self.target).iterdir() if p.is_dir()):
            outcome = attempt(Case(self.target, -1, good_name=folder.name), self.box, self.goods, self.limits)
            self.import_what_was_missing()
            if outcome.kind == "refused":
                self.left_out.append(f"{folder.name}: {outcome.message}")
            elif outcome.kind != "answered":
                raise RuntimeError(
                    f"{folder} must be answered, but is {outcome.kind}: {outcome.message}\n{outcome.log}"
                )

    def import_what_was_missing(self) -> None:
        """Import what the last child had to import for itself, so that the next ones find it: four times the cases."""
        for name in self.box.noted("imported.json") or []:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    def run(self, case: Case) -> None:
        outcome = attempt(case, self.box, self.goods, self.limits)
        bug = f"{outcome.kind}: {outcome.place}"
        known = self.bugs[bug] >= SAVED_OF_A_BUG
        if outcome.kind not in GOOD and not known:
            saved = save(case, outcome, self.box, self.out / "bad")
            if outcome.kind in ("HANG", "CRASH"):
                outcome = self.alone(case, saved, outcome)
                bug = f"{outcome.kind}: {outcome.place}"
        self.counts[outcome.kind] += 1
        self.peak_mb, self.longest_s = max(self.peak_mb, outcome.peak_mb), max(self.longest_s, outcome.seconds)
        if outcome.kind not in GOOD:
            self.bugs[bug] += 1
        if time.monotonic() - self.told > TOLD_EVERY_S:
            self.tell()

    def alone(self, case: Case, saved: Path, forked: Outcome) -> Outcome:
        """Repeat a hang or a crash in a fresh interpreter: a fork of a process with threads may hang by itself."""
        if not case.attack:  # an attack is made again: pipes cannot be kept
            case = replace(case, replayed=str(saved / "input"), good_name=forked.what.split(":")[0])
        repeated = attempt(case, self.box, self.goods, self.limits, alone=True)
        (saved / "alone.txt").write_text(f"{repeated.kind}: {repeated.place}\n{repeated.message}\n{repeated.log}")
        if repeated.kind in GOOD:
            shutil.rmtree(saved)
        return repeated

    def tell(self, *, finished: bool = False) -> None:
        self.told = time.monotonic()
        summary = {"counts": dict(self.counts), "bugs": dict(self.bugs), "finished": finished}
        summary |= {"peak_mb": self.peak_mb, "longest_s": self.longest_s, "left_out": self.left_out}
        self.connection.send(summary)


def save(case: Case, outcome: Outcome, box: Box, folder: Path) -> Path:
    """Keep the input of a case with what came of it, so that it can be given again; return where."""
    place = folder / case.target / f"{outcome.kind}-{case.name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copytree(box.case, place / "input", symlinks=True, ignore=_special)
    noted = box.noted("mutation.json")
    about = case.to_json() | {"kind": outcome.kind, "place": outcome.place, "message": outcome.message}
    good_name, _, what = noted["what"].partition(": ")
    about |= {"what": what, "harmful": noted["harmful"], "good_name": good_name}
    (place / "case.json").write_text(json.dumps(about, indent=2) + "\n")
    (place / "log.txt").write_text(outcome.log)
    return place


def _special(folder: str, names: list[str]) -> list[str]:
    """Return what cannot be copied: pipes, and files that are larger than they look worth."""
    places = [Path(folder) / n for n in names]
    return [p.name for p in places if not p.is_symlink() and (p.is_fifo() or p.stat().st_size > 1 << 28)]
