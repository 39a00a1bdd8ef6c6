"""Run a command in a fork of this warm process: whole, or stopped at one of its writes."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COUNT, KILL, HALF, FULL = range(4)
LIMIT_S = 120.0
LINE = re.compile(r"\d+ (?P<call>\w+) (?P<path>.*)")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (minus the signal if it was killed), what it said, and its steps."""

    code: int
    said: str
    steps: tuple[tuple[str, str], ...]

    @property
    def hung(self) -> bool:
        return self.code == -signal.SIGALRM

    @property
    def told(self) -> bool:
        """Whether it said in one line, and without a traceback, what is wrong."""
        return self.code == 2 and "Traceback" not in self.said and self.said.count("\nsonolex ") <= 1


def warm(words: Sequence[str]) -> None:
    """Run ``sonolex`` with these words in this process: a fork then finds all that it imports, in a fifth of the time.

    Raises:
        SystemExit: it does not end well.
    """
    import torch

    from sonolex.cli import main

    torch.set_num_threads(1)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(list(words))
    if code:
        raise SystemExit(f"{' '.join(words)} must end well when nothing stops it, but said: {said.getvalue()[-2000:]}")


def run(words: Sequence[str], folder: Path, log: Path, *, at: int = 0, mode: int = COUNT) -> Ended:
    """Run ``sonolex`` with these words in a fork; its steps below ``folder`` are counted; it stops at ``at``."""
    log.unlink(missing_ok=True)
    said = log.with_suffix(".said")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _be_the_command(words, folder, log, said, at, mode)
    code = _waited_for(child)
    lines = (LINE.fullmatch(line) for line in log.read_text(errors="replace").splitlines())
    steps = tuple((m["call"], plain(m["path"])) for m in lines if m)
    return Ended(code, said.read_text(errors="replace"), steps)


def _be_the_command(words: Sequence[str], folder: Path, log: Path, said: Path, at: int, mode: int) -> None:
    code = 1
    try:
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        signal.alarm(int(LIMIT_S))
        from sonolex.cli import main

        shim = ctypes.CDLL(None)
        shim.interruptions_begin(
            str(folder).encode(), ctypes.c_long(at), ctypes.c_int(mode), ctypes.c_char_p(str(log).encode())
        )
        code = main(list(words))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _waited_for(child: int) -> int:
    deadline = time.monotonic() + 2 * LIMIT_S
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGALRM


def plain(path: str) -> str:
    """Return a path without what differs from run to run: process ids and marks of temporary names."""
    path = re.sub(r"\.tmp\w{6}", ".tmp", re.sub(r"events\.out\S*", "events", path))
    return re.sub(r"\.(building|replaced)-\d+\.[0-9a-f]+-", r".\1-", path)
