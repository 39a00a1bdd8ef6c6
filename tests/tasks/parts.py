"""A batch with labels, vectors and a small system, for tests of tasks."""

from __future__ import annotations

import torch

from sonolex.systems.base import build_system
from sonolex.types import Batch, Encoding
from tests.conftest import TINY

BATCH = Batch(
    ("a", "b", "c"), labels={"mood": ("glad", None, "sad"), "value": (1.0, None, "2.5"), "speaker": ("x", "z", "y")}
)
POOLED = Encoding(torch.randn(3, 8))


def system():
    """A tiny CTAL with random weights."""
    return build_system("ctal", TINY)


def silence(task) -> None:
    """Make the head answer 0 whatever it hears."""
    for parameter in task.head.parameters():
        torch.nn.init.zeros_(parameter)
