"""A thousand short recordings by `sonolex predict` beside another program: threads as chosen, and as torch has them.

    python -m benchmarks busy_predict

"As torch has them" is a thread for every core, and threads that spin while they wait: what `sonolex` did before it
looked at the machine. The other programs are one that computes with torch on every core, as a training does, and two
that only count. It keeps the machine busy for minutes, so it runs only when named.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import soundfile

from benchmarks._timing import claim, interleaved, ratio, table
from sonolex.devices import THREADS_SET_BY, WAITING_SET_BY, usable_cores

ONLY_WHEN_NAMED = True
CLIPS, RATE_HZ, SHORTEST_S, LONGEST_S = 1000, 8000, 1.0, 4.0
LONGEST_WAIT_S = 420
SPINNING = {"GOMP_SPINCOUNT": "300000"}  # libgomp's own number, which it uses where nobody says anything
OTHERS = {
    "beside nothing of ours": [],
    "beside a torch program": [
        "import torch\nx = torch.randn(64, 256, 256)\nwhile True: x = torch.nn.functional.gelu(x)"
    ],
    "beside two busy loops": ["while True: pass"] * 2,
}


def run() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clips = [_written(folder / f"{number:04d}.wav", number) for number in range(CLIPS)]
        model = _trained(folder, clips[:24])
        words = [str(model), *map(str, clips)]
        cores = str(usable_cores())
        cases = {
            "as torch has them": lambda: _predict([*words, "--threads", cores], SPINNING),
            "one thread": lambda: _predict([*words, "--threads", "1"], {}),
            "as chosen": lambda: _predict(words, {}),
        }
        for name, programs in OTHERS.items():
            with _running(programs):
                print(f"  {name}:")
                seconds = interleaved(cases, rounds=2)
            table(seconds, what="s", scale=1.0)
            claim(f"{name}, over threads as torch has them", ratio(seconds, "as chosen", "as torch has them"), 0.8)


def _written(path: Path, number: int) -> Path:
    rng = np.random.default_rng(number)
    samples = round(RATE_HZ * rng.uniform(SHORTEST_S, LONGEST_S))
    wave = 0.3 * np.sin(2 * np.pi * (300, 900)[number % 2] * np.arange(samples) / RATE_HZ)
    soundfile.write(path, wave + 0.01 * rng.normal(size=samples), RATE_HZ)
    return path


def _trained(folder: Path, clips: list[Path]) -> Path:
    rows = [(clip.name, ("low", "high")[number % 2]) for number, clip in enumerate(clips)]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([("audio", "pitch"), *rows])
    words = [str(folder / "table.csv"), "--label", "pitch", "--epochs", "1", "--out", str(folder / "fit"), "--quiet"]
    _sonolex(["fit", *words], {})
    return folder / "fit" / "run"


def _predict(words: list[str], environment: dict[str, str]) -> None:
    """Predict; what takes longer than `LONGEST_WAIT_S` is ended and counts as that long, as spinning threads may."""
    with suppress(subprocess.TimeoutExpired):
        _sonolex(["predict", *words], environment)


def _sonolex(words: list[str], environment: dict[str, str]) -> None:
    """Run a command whose threads nobody but it, or ``environment``, decides about."""
    inherited = {n: v for n, v in os.environ.items() if n not in (*THREADS_SET_BY, *WAITING_SET_BY)}
    command = [sys.executable, "-m", "sonolex", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=inherited | environment, timeout=LONGEST_WAIT_S)


@contextmanager
def _running(programs: list[str]) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    try:
        time.sleep(3 if started else 0)  # torch is loaded
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()
