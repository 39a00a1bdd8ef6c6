"""What a case is, and what may come of it."""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

GOOD = ("answered", "refused", "unmade")  # unmade: the change itself failed, a fault of ours
# From the worst on: a case that did several of these is counted as the first.
BUGS = {
    "RAN": "code from the file ran, or it changed a class",
    "WROTE": "a file outside the output folder was written or changed",
    "CRASH": "the process ended by a signal",
    "HANG": "no end within the time limit",
    "MEMORY": "more memory or disk than the limit",
    "TRACEBACK": "an exception that is not ValueError, TypeError or OSError",
    "ASKED": "the network was asked because of a name in a file",
    "RAW": "control characters on the terminal, or markup in a page",
    "SILENT": "a damaged file answered with other content and no word",
    "NAN": "an answer that is not finite",
    "VAGUE": "a refusal that does not name the file",
}
KINDS = (*GOOD, *BUGS)


@dataclass(frozen=True)
class Mutation:
    """What was done to a good file.

    ``harmful``: content was lost in a way the format shows (truncated, another dtype), so it must be refused, or give
    what the whole file gives; anything else is SILENT.
    """

    what: str
    harmful: bool = False


@dataclass(frozen=True)
class Case:
    """One changed file, a function of its fields: ``number`` of the random ones, or the name of an attack.

    ``number`` -1 is a good file as it is.
    """

    target: str
    number: int = 0
    seed: int = 0
    attack: str = ""
    good_name: str = ""
    replayed: str = ""
    """A folder with the input as it was; otherwise it is made again."""

    @property
    def name(self) -> str:
        return re.sub(r"[^\w.-]+", "_", f"{self.target}-{self.attack or f'{self.seed}-{self.number}'}")

    @property
    def rng(self) -> random.Random:
        return random.Random(f"{self.seed}/{self.target}/{self.number}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Outcome:
    """What came of a case. ``place`` is where it happened: cases with the same kind and place are one bug."""

    kind: str
    place: str = ""
    message: str = ""
    what: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0
    log: str = ""


def target_names() -> list[str]:
    """Return the names of all targets: the modules in ``targets/``."""
    folder = Path(__file__).parent / "targets"
    return sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_"))


def find_target(name: str) -> ModuleType:
    """Return the module of a target, ``targets/NAME``; a dotted name is a module of its own (tests have some)."""
    return importlib.import_module(name if "." in name else f"benchmarks.fuzzing.targets.{name}")
