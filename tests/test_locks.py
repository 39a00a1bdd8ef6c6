"""Locks: who holds one is named, a dead process holds none, and other filesystems say so."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from sonolex.locks import Held, holding, is_held, only_here

HOLD = """
import sys, time
from pathlib import Path
from sonolex.locks import only_here
with only_here(Path(sys.argv[1]), "run", "trains in"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        assert is_held(tmp_path, "run")
        with pytest.raises(Held, match=rf"pid {other.pid} on .*, since 20.*trains in it"):  # noqa: SIM117
            with only_here(tmp_path, "run", "trains in"):
                pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with only_here(tmp_path, "run", "trains in"):
        assert f"pid {os.getpid()} " in (tmp_path / ".locks" / "run").read_text()
    assert (tmp_path / ".locks" / "run").read_text() == ""


def test_who_waits_gets_the_lock_in_the_end(tmp_path):
    program = HOLD.replace("sleep(60)", "sleep(0.5)")
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    started = time.monotonic()
    with holding(tmp_path, "run") as free:
        assert free and time.monotonic() - started > 0.1
    other.communicate()


def test_a_filesystem_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match=r"filesystem with file locks \(flock\), but this one has none"):  # noqa: SIM117
        with only_here(tmp_path, "run", "trains in"):
            pass
