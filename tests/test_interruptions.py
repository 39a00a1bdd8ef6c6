"""Killed, or out of room, at some of its writes: a run folder and an index go on (all: `benchmarks.interruptions`)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="stops writes in the C library")
def test_a_probe_and_an_index_go_on_after_every_seventh_write():
    words = ["interruptions", "--only", "probe", "index, grown", "--every", "7", "--no-strace"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0 and "no failure" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.stdout.count("went on, same bits") >= 4  # killed before, and full: of each command
