"""A recipe for `benchmarks.processes`: another recipe's ``tiny()`` with dropout on, in fp32 and for a few steps.

A few steps, and a larger eps than the recipes': AdamW turns the rounding of gradients near 0 into steps of full size,
so that runs that add in another order drift apart in time (with eps 1e-6 quickstart by 1e-6 after five steps and by
3e-4 after ten, where the same runs in double precision stay together).
"""

from __future__ import annotations

from dataclasses import replace

from sonolex.configs import find_module
from sonolex.train.run import Run

EPS = 1e-4


def recipe(*, of: str, steps: int = 5, dropout: float = 0.1) -> list[Run]:
    """Return the runs of recipe ``of``."""
    return [
        replace(
            run,
            config=replace(run.config, dropout=dropout),
            budget=replace(run.budget, max_steps=steps, checkpoint_steps=1),
            optim=replace(run.optim, eps=EPS),
            precision="32-true",
        )
        for run in find_module("recipes", of).tiny()
    ]


tiny = recipe
