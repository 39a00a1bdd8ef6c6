"""Interleaved timing and a table of ratios."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(
    cases: Mapping[str, Callable[[], object]], *, rounds: int = 7, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Return seconds of every case and round; cases take turns, and the first round is dropped.

    ``clock`` may be `time.process_time` for short cases of one thread: other programs take turns, but not its seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            started = clock()
            case()
            if number:
                seconds[name].append(clock() - started)
    return seconds


def ratio(seconds: dict[str, list[float]], ours: str, peer: str) -> float:
    """Return how many times faster ``ours`` is: the median over rounds of paired ratios."""
    return statistics.median(p / o for o, p in zip(seconds[ours], seconds[peer], strict=True))


def table(seconds: dict[str, list[float]], *, unit: float = 1.0, what: str = "ms", scale: float = 1e3) -> None:
    """Print median, best and spread of every case; ``unit`` divides, e.g. by clips."""
    load = "/".join(f"{x:.2f}" for x in os.getloadavg())
    print(f"load {load}, {os.cpu_count()} cores")
    for name, values in seconds.items():
        median, best, worst = statistics.median(values), min(values), max(values)
        spread = f"{100 * (best / median - 1):+.0f}/{100 * (worst / median - 1):+.0f} %"
        print(f"  {name:44} {scale * median / unit:10.2f} {what}  best {scale * best / unit:10.2f}  {spread}")


def claim(text: str, value: float, target: float, *, at_least: bool = True) -> None:
    """Print a ratio beside its target."""
    met = value >= target if at_least else value <= target
    print(f"  {'met   ' if met else 'MISSED'} {text}: {value:.2f} (target {'≥' if at_least else '≤'} {target:g})")
