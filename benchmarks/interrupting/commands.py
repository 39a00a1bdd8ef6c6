"""The commands that are interrupted, what each starts from, and what of its folder has to be the same in the end."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.targets import _material

RECIPE = "benchmarks.interrupting.recipe"
NUM_RECORDINGS = 6
VARYING = ("train_s", "load_s", "environment")  # times, and the machine's state


@dataclass(frozen=True)
class Command:
    """Words of the command line that write into ``{out}``; ``{goods}`` is where their input lies."""

    name: str
    words: str
    before: Callable[[Path, Path], None] = lambda goods, out: None

    def of(self, goods: Path, out: Path) -> list[str]:
        return [word.format(goods=goods, out=out) for word in self.words.split()]


def _half_an_index(goods: Path, out: Path) -> None:
    shutil.copytree(goods / "index", out)


MANIFEST = "--manifest {goods}/table.arrow"
FIT = "--out {out} --threads 1 --quiet"
COMMANDS = (
    Command("train", f"train {RECIPE} --out {{out}} --threads 1 --quiet {MANIFEST}"),
    Command("probe", f"train {RECIPE} --out {{out}} --threads 1 --quiet {MANIFEST} --kind probe"),
    Command("fit", f"fit {{goods}}/table.csv --label pitch --system statistics {FIT}"),
    Command("fit, network", f"fit {{goods}}/table.csv --label pitch --system ctal --epochs 1 --folds none {FIT}"),
    Command("index", "index {goods}/sounds --model {goods}/calm --out {out} --threads 1"),
    Command("index, grown", "index {goods}/sounds --model {goods}/calm --out {out} --threads 1", _half_an_index),
    Command(
        "sweep",
        f"sweep {RECIPE} --space optim.lr=0.001,0.003 --trials 2 --no-prune --out {{out}} --threads 1 --quiet "
        f"{MANIFEST} --kind one",
    ),
    Command("units", "units {goods}/table.csv --num-units 4 --out {out}/units.csv --threads 1"),
)


def make_goods(goods: Path) -> None:
    """Write the recordings, tables and models that the commands read."""
    from sonolex.cli import main

    names = _material.write_waves(goods / "sounds", NUM_RECORDINGS)
    rows = [f"sounds/{name}" for name in names]
    for suffix in ("arrow", "csv"):
        _material.write_table(goods / f"table.{suffix}", rows)
    _material.small_model("calm", goods / "calm")
    some = goods / "some"
    for name in names[: NUM_RECORDINGS // 2]:
        some.mkdir(exist_ok=True)
        shutil.copy(goods / "sounds" / name, some)
    assert main(["index", str(some), "--model", str(goods / "calm"), "--out", str(goods / "index")]) == 0


def outcome(out: Path) -> dict[str, str]:
    """Return a digest of everything in a folder that must not depend on interruptions: weights, scores, vectors."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        place = str(path.relative_to(out))
        if path.name in ("results.json", "sweep.json"):
            found[place] = _digest(json.dumps(_steady(json.loads(path.read_text()))).encode())
        elif path.suffix in (".safetensors", ".f16", ".arrow", ".csv") or path.name in ("paths.jsonl", "index.json"):
            found[place] = _digest(path.read_bytes())
        elif "predictions" in path.parts or "floors" in path.parts or path.suffix == ".html":
            found[place] = _digest(path.read_bytes()) if path.suffix == ".json" else "there"
    return found


def half_written(out: Path) -> list[str]:
    """Return files of a folder that are not whole: JSON that does not end, lines that do not, or nothing at all."""
    broken = []
    for path in (p for p in out.rglob("*") if p.is_file() and not any(q.startswith(".") for q in p.parts[-4:])):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix in (".safetensors", ".npz", ".html", ".png", ".csv", ".arrow") and not path.stat().st_size:
                raise ValueError("empty")
        except ValueError:
            broken.append(str(path.relative_to(out)))
    return broken


def leftovers(out: Path) -> list[str]:
    """Return what is being built or replaced in a folder: nothing, once a command has ended well."""
    return [str(p.relative_to(out)) for p in out.rglob(".*") if p.name.startswith((".building", ".replaced"))]


def _steady(values: Any) -> Any:
    if isinstance(values, dict):
        trials = {"trials": sorted(_trials(values["trials"]))} if "trials" in values else {}
        return {k: _steady(v) for k, v in values.items() if k not in (*VARYING, "trials")} | trials
    return [_steady(v) for v in values] if isinstance(values, list) else values


def _trials(trials: list[dict[str, Any]]) -> list[str]:
    """Return the trials that were finished: a killed one is in the study twice, once as failed."""
    return [json.dumps([t["values"], t["value"]]) for t in trials if t["state"] == "complete"]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
