"""Losses of every recipe's tiny() and the scores it ends with: written once, compared after a refactor.

Every step's losses, every selection and every final score, as they stand in journals and results. A refactor changes
none of them, to the last digit; on another machine or another number of threads they differ by rounding. Minutes of
training, so it runs only when named::

    python -m benchmarks tiny_losses --out before.json
    python -m benchmarks tiny_losses --against before.json

``--recipes ctal4,quickstart`` takes some recipes only.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from sonolex.configs import find_module, module_names
from sonolex.train.series import train_all

ONLY_WHEN_NAMED = True
DATA = "../shared/data"
KEPT = ("step", "selection", "probe")  # events of the journal whose numbers are compared
CLOCKS = ("time_s", "load_s", "train_s")


def run(words: Sequence[str] = ()) -> None:
    """Write the losses of tiny() recipes, or compare them; ``words`` are options as on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tiny_losses")
    parser.add_argument("--out", type=Path, help="file to write")
    parser.add_argument("--against", type=Path, help="file of another commit to compare with")
    parser.add_argument("--recipes", default=",".join(module_names("recipes")), help="names with commas")
    options = parser.parse_args(words)
    os.environ.setdefault("SONOLEX_DATA", str(Path(DATA).resolve()))
    torch.set_num_threads(1)  # sums in one order
    found = {name: losses_of(name) for name in options.recipes.split(",")}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if options.against:
        before = json.loads(options.against.read_text(encoding="utf-8"))
        different = [line for name in found for line in differences(before.get(name), found[name], name)]
        print(*different[:40], sep="\n")
        print(f"{len(different)} differences in {len(found)} recipes")
        if different:
            raise AssertionError("losses must equal those of the other commit to the last digit, but do not.")


def losses_of(name: str) -> dict[str, Any]:
    """Return what a recipe's tiny() journals and scores, by run."""
    with tempfile.TemporaryDirectory() as place:
        runs = find_module("recipes", name).tiny()
        results = train_all(runs, Path(place), quiet=True, say=lambda text: None)
        found = {}
        for r, result in zip(runs, results, strict=True):
            lines = (Path(place) / r.name / "journal.jsonl").read_text(encoding="utf-8").splitlines()
            events = [e for e in map(json.loads, lines) if e["event"] in KEPT]
            kept = [{k: v for k, v in e.items() if k not in CLOCKS} for e in events]
            found[r.name] = {"journal": kept, "scores": result.get("scores"), "fingerprint": result.get("fingerprint")}
    num_steps = sum(e["event"] == "step" for r in found.values() for e in r["journal"])
    print(f"  {name}: {len(found)} runs, {num_steps} steps", flush=True)
    return json.loads(json.dumps(found))


def differences(before: Any, after: Any, place: str) -> Iterator[str]:
    """Yield every place where two JSON values differ, with both."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from differences(before.get(key), after.get(key), f"{place}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (x, y) in enumerate(zip(before, after, strict=True)):
            yield from differences(x, y, f"{place}[{i}]")
    elif before != after:
        yield f"{place}: {str(before)[:60]} → {str(after)[:60]}"
