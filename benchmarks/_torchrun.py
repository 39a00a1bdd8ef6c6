"""Start ``torchrun … -m sonolex`` and look at its processes; Linux only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]


def started(
    words: Sequence[str], processes: int, *, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Return ``sonolex`` with these words as it starts on so many processes, one thread each; one without torchrun."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]  # a free port
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "sonolex", *words]
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | paths | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def workers(launcher: subprocess.Popen[str], processes: int) -> dict[int, int]:
    """Return the process id of every rank that torchrun has started, as soon as all are there."""
    while launcher.poll() is None:
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if int(_status(folder)[1]) == launcher.pid:
                    found |= {int(v[5:]): int(folder.name) for v in _environment(folder) if v.startswith("RANK=")}
            except OSError:  # it ended meanwhile
                continue
        if len(found) == processes:
            return found
        time.sleep(0.02)
    raise RuntimeError(f"torchrun ended before its processes were started: {launcher.communicate()[0][-2000:]}")


def seconds_until_ended(pids: Sequence[int], *, limit_s: float = 60.0) -> float:
    """Return how long these processes still run; ``limit_s`` if longer."""
    begun = time.monotonic()
    while time.monotonic() - begun < limit_s and any(_runs(pid) for pid in pids):
        time.sleep(0.02)
    return time.monotonic() - begun


def weights(folder: Path) -> dict[str, object]:
    """Return the weights of every model that runs in a folder ended with, by run and name."""
    found = sorted(folder.glob("*/model/model.safetensors"))
    return {f"{path.parent.parent.name}/{name}": x for path in found for name, x in load_file(path).items()}


def largest_difference(one: Path, other: Path) -> float:
    """Return the largest difference between any two weights of the same runs in two folders."""
    ours, theirs = weights(one), weights(other)
    if not ours or ours.keys() != theirs.keys():
        raise ValueError(f"{one} and {other} must hold the same runs, but do not.")
    return max(float((ours[n].float() - theirs[n].float()).abs().max()) for n in ours)  # type: ignore[attr-defined]


def _runs(pid: int) -> bool:
    try:
        return _status(Path(f"/proc/{pid}"))[0] not in "ZX"
    except OSError:
        return False


def _status(folder: Path) -> list[str]:
    """Return a process's state, parent and so on."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _environment(folder: Path) -> list[str]:
    return (folder / "environ").read_bytes().decode(errors="replace").split("\0")
