"""Dropout and its way back on a CPU: sixteen random bits a value, by clip or not, against torch's Bernoulli trials.

One thread, in seconds of its core.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks._timing import claim, interleaved, ratio, table
from sonolex.nn.dropout import Dropout, drawn_from

SHAPE_BTD = (48, 250, 128)


def run() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.ones(3_000_000, dtype=torch.float64)  # glibc keeps freed memory up to the largest block freed so far
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        cases = {"torch": _there_and_back(nn.Dropout(0.1), dtype), "ours": _there_and_back(Dropout(0.1), dtype)}
        cases["ours, by clip"] = _by_clip(_there_and_back(Dropout(0.1), dtype))
        seconds = interleaved(cases, rounds=25, clock=time.process_time)
        table(seconds)
        claim(f"dropout, {name}, over torch's", ratio(seconds, "ours", "torch"), 2.0)
        claim(f"dropout by clip, {name}, over torch's", ratio(seconds, "ours, by clip", "torch"), 1.8)
    torch.set_num_threads(threads)


def _there_and_back(dropout: nn.Module, dtype: torch.dtype) -> Callable[[], object]:
    x_BTD = torch.randn(SHAPE_BTD, dtype=dtype, requires_grad=True)
    return lambda: dropout(x_BTD).backward(x_BTD.detach())


def _by_clip(step: Callable[[], object]) -> Callable[[], object]:
    def announced() -> None:
        with drawn_from(range(SHAPE_BTD[0]), torch.device("cpu")):
            step()

    return announced
