"""Devices by name, whether they have real bf16, and how many threads a command uses.

Nothing heavy is imported before a function runs, so that the command line may import this file.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

AUTO = "auto"
WATCHED_S = 0.2  # shortest time over which the load of other programs is measured
THREADS_SET_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
WAITING_SET_BY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def find_device(name: str | torch.device = AUTO) -> torch.device:
    """Return the device: cpu, cuda (the first one), cuda:N or mps; auto is cuda, else mps, else cpu.

    Raises:
        ValueError: one that this machine does not have.
    """
    import torch

    here = device_names()
    wanted = here[0] if str(name) == AUTO else "cuda:0" if str(name) == "cuda" else str(name)
    if wanted in here:
        return torch.device(wanted)
    without_cuda = wanted.startswith(("cuda", "gpu")) and torch.version.cuda is None and torch.version.hip is None
    known = re.fullmatch(r"cpu|mps|cuda:\d+", wanted)
    raise ValueError(
        f"`device` must be one that this machine has ({', '.join(here)}), but is {str(name)!r}."
        + (" GPUs are called cuda (or cuda:1, or Apple's mps)." if not known else "")
        + (" The installed torch was built without CUDA." if without_cuda else "")
    )


def only_cpu(name: str, what: str) -> None:
    """Require the CPU for ``what``, which runs nowhere else.

    Raises:
        ValueError: another device, or one that this machine does not have.
    """
    if name != AUTO and find_device(name).type != "cpu":
        raise ValueError(f"`device` must be cpu for {what}, but is {name!r}.")


def device_names() -> list[str]:
    """Return the names of this machine's devices, the one that "auto" means first."""
    import torch

    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def auto_precision(device: torch.device) -> str:
    """Return the precision that "auto" means: bf16 where it is real, fp16 on other CUDA devices, else fp32."""
    if has_real_bf16(device):
        return "bf16-mixed"
    return "16-mixed" if device.type == "cuda" else "32-true"


def has_real_bf16(device: torch.device) -> bool:
    """Return whether the device itself multiplies bf16. Where that is emulated, fp32 is as fast and more exact.

    oneDNN's own check also says yes where it emulates (every AVX-512), and torch's where CUDA does (before Ampere).
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def use_threads(threads: int | None = None, *, processes: int = 1, by_load: bool) -> int:
    """Set how many threads torch computes one operation with, at the start of a command, and return the number.

    1. ``threads`` (``--threads``), if it is set;
    2. else what the user has set: OMP_NUM_THREADS or MKL_NUM_THREADS, or torch itself in a Python that runs already;
    3. else the cores that this process may use (affinity, the quota of its control group), shared by ``processes``;
    4. ``by_load``: of these, those that other programs leave idle, at least one. Two threads for one idle core wait for
       each other at every operation. For commands that only read a model: another number of threads changes the last
       bits of a sum, so a training keeps to 1 to 3 and a resumed one has the same bits on a busy machine.

    Threads that wait do not spin, unless the user has set how they wait: it costs 10 % on an idle machine, and on a
    busy one saves up to nine tenths of the time (benchmarks/busy_predict.py). It changes no number.

    Raises:
        ValueError: fewer threads or processes than one, or more threads than the machine has cores.
    """
    most = os.cpu_count() or 1
    if processes < 1:
        raise ValueError(f"`processes` must be at least 1, but is {processes}.")
    if threads is not None and not 1 <= threads <= most:
        raise ValueError(f"`threads` must be 1 to {most}, the cores of this machine, but is {threads}.")
    fresh = "torch" not in sys.modules
    if fresh and not any(os.environ.get(name) for name in WAITING_SET_BY):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read once, when torch is loaded
    before = _times()
    import torch

    if threads is None and fresh and not any(os.environ.get(name) for name in THREADS_SET_BY):
        threads = default_threads(processes)
        if by_load and threads > 1:
            time.sleep(max(0.0, WATCHED_S - (time.perf_counter() - before[0])))
            threads = max(1, min(threads, round(_idle_cores(before, _times()))))
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def default_threads(processes: int = 1) -> int:
    """Return how many threads each of ``processes`` processes uses by default, on an idle machine."""
    import torch

    return min(torch.get_num_threads(), max(1, usable_cores() // processes))


def usable_cores() -> int:
    """Return how many cores this process may use: of the machine, its affinity and its control group's quota."""
    from joblib import cpu_count

    return max(1, int(cpu_count()))


def _times() -> tuple[float, float, float | None]:
    """Return the time, the seconds this process has computed, and those its cores were idle (None if unknown)."""
    return time.perf_counter(), time.process_time(), _idle_s()


def _idle_cores(before: tuple[float, float, float | None], after: tuple[float, float, float | None]) -> float:
    """Return how many usable cores other programs left idle between two moments; else by the load average."""
    if before[2] is None or after[2] is None:
        return usable_cores() - (os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
    passed_s, own_s = after[0] - before[0], after[1] - before[1]
    return (after[2] - before[2] + own_s) / passed_s


def _idle_s() -> float | None:
    """Return how long the cores that this process may use have been idle; None if the system does not report it."""
    if not hasattr(os, "sched_getaffinity") or not Path("/proc/stat").is_file():
        return None
    cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    lines = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()]
    ticks = [int(idle) + int(waiting) for name, *_, idle, waiting in (x[:6] for x in lines if x[0] in cores)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None
