"""A recipe at which the second process of two stays, while it is silent because only the first one speaks."""

from __future__ import annotations

import time
from pathlib import Path

from sonolex.train import group
from sonolex.train.run import Run


def recipe(*, mark: str) -> list[Run]:
    if not group.is_first():
        Path(mark).touch()
        time.sleep(60)
    return []
