"""Cases made by hand: each changes a good input in one way that somebody thought of, before the random ones run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.fuzzing.cases import Mutation

Attack = Callable[[Path], Mutation]


def of_target(target: str) -> dict[str, Attack]:
    """Return the attacks on a target, by name."""
    return {}
