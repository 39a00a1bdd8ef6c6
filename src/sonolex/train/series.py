"""Train the runs of a recipe one after the other; later runs may start from earlier ones by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sonolex.train.loop import train
from sonolex.train.probing import probe
from sonolex.train.run import Run


def train_all(
    runs: Sequence[Run], folder: Path, *, quiet: bool = False, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Return the results of every run, in ``folder/<run name>``. Finished runs are not repeated, broken ones go on."""
    names = [r.name for r in runs]
    if len(set(names)) != len(names):
        raise ValueError(f"runs of a recipe must have different names, but are {names}.")
    results = []
    for number, run in enumerate(runs, start=1):
        place, earlier = folder / run.name, {n: folder / n for n in names[: number - 1]}
        if run.frozen_classifier != "none":
            result = probe(run, place, earlier=earlier)
        else:
            result = train(run, place, earlier=earlier, quiet=quiet)
        say(f"[{number}/{len(runs)}] {run.name}: {one_line(result)}")
        results.append(result)
    return results


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
