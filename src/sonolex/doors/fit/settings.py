"""The options of a fit, checked before anything is read, and the names that its runs get from them."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any

from sonolex.devices import AUTO, find_device
from sonolex.names import spelled
from sonolex.systems.base import system_type

FEWEST_MINUTES, MOST_MINUTES = 3.0, 60.0
CLIPS_A_MINUTE = 150  # by which the default time grows
FOLDS = ("auto", "none", "speaker")


@dataclass(frozen=True)
class Settings:
    """Options of `fit`; None means a default by the table's size.

    Attributes:
        system: the one network to train; None lets candidates compete.
        start_from: run folder, model folder or ``hub:ORG/NAME`` of weights to start from.
        folds: "auto", "none", "speaker" or a number from 3 on.
        split_seed: seed of the table's division; ``seed`` affects only the training.
        minutes: time for networks; small models always run.
    """

    system: str | None = None
    start_from: str | None = None
    epochs: int | None = None
    lr: float | None = None
    batch_s: float | None = None
    seed: int = 0
    device: str = AUTO
    folds: str = "auto"
    split_seed: int = 0
    minutes: float | None = None
    quiet: bool = False

    def require_usable(self) -> None:
        """Raise ValueError for impossible options, all at once, before the table is read."""
        problems = []
        for name in ("epochs", "lr", "batch_s", "minutes"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                least = "at least 1" if name == "epochs" else "above 0"
                problems.append(f"`{name}` must be {least}, but is {value:g}.")
        number = self.folds.isdecimal() and 3 <= int(self.folds) <= 1000
        if self.folds not in FOLDS and not number:
            problems.append(f"`folds` must be {', '.join(FOLDS)} or a number from 3 on, but is {self.folds!r}.")
        if self.system == "average":
            problems.append(
                "`system` must be one that can be trained, but average joins two trained ones. Leave it out."
            )
        if problems:
            raise ValueError(" ".join(problems))
        find_device(self.device)
        if self.system is not None:
            system_type(self.system, trust_code=True)

    def minutes_for(self, num_clips: int) -> float:
        """Return the time for networks, in minutes."""
        if self.minutes is not None:
            return self.minutes
        return min(MOST_MINUTES, max(FEWEST_MINUTES, FEWEST_MINUTES + num_clips / CLIPS_A_MINUTE))

    @property
    def changed(self) -> dict[str, Any]:
        """Options that affect the model and differ from their defaults, by name."""
        options = {"system": self.system, "from": self.start_from, "epochs": self.epochs, "lr": self.lr}
        return {name: v for name, v in (options | {"batch-s": self.batch_s}).items() if v is not None}

    @property
    def row(self) -> str:
        """The name of this fit's row in tables; seeds of one row are pooled."""
        return " ".join(["fit", *(f"--{name} {value}" for name, value in self.changed.items())])

    @property
    def run_name(self) -> str:
        """The name of this fit's folder beside fits with other options; "run" without options."""
        words = [f"{name}-{_short(value)}" for name, value in self.changed.items()]
        words += [f"seed-{self.seed}"] if self.seed else []
        return spelled("-".join(["run", *words]))


def _short(value: Any) -> str:
    """Return a value as part of a folder's name; paths and other long words as their end and a digest."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if re.fullmatch(r"[\w.-]{1,24}", text):
        return text.replace(".", "_")
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', text)[-16:].strip('_')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
