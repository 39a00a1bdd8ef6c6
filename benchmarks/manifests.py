"""A million clips: opening a manifest, its durations, its memory, an epoch's order, against lhotse.

Opening checks every byte, offset and text of the file, which lhotse's cuts leave to whoever reads them: 0.1 s of a core
for a hundred megabytes. Unchecked it would be 4 ms.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._timing import claim

CLIPS, LHOTSE_CLIPS = 1_000_000, 100_000
ROUNDS = 3
WRITE = """
import sys, numpy as np, pyarrow as pa
from pathlib import Path
from sonolex.data.manifest import Manifest
n = int(sys.argv[2])
i = np.arange(n)
table = pa.table({"id": [f"clip{k:07d}" for k in i], "audio": [f"audio/{k % 1000:03d}/clip{k:07d}.flac" for k in i],
    "duration_s": np.random.default_rng(0).lognormal(1.5, .55, n), "text": ["the words of this clip"] * n,
    "speaker": [f"speaker{k % 5000}" for k in i], "split": ["train"] * n})
Manifest(table, root=Path(sys.argv[1]).parent).write(sys.argv[1])
"""
OURS = """
import sys, time, psutil, os
import numpy as np, pyarrow.parquet, pyarrow.ipc
from sonolex.data.manifest import read_manifest
from sonolex.data.sampler import Sampler
rss = lambda: psutil.Process().memory_info().rss / 1e6
before, started = rss(), time.perf_counter()
manifest = read_manifest(sys.argv[1]); total = manifest.durations_s.sum()
opened, memory = time.perf_counter() - started, rss() - before
started = time.perf_counter(); Sampler(manifest.durations_s, 600.0).epoch(0)
epoch = time.perf_counter() - started
started = time.perf_counter(); [manifest[int(k)] for k in np.random.default_rng(1).integers(0, len(manifest), 10_000)]
print(opened, memory, epoch, (time.perf_counter() - started) / 10_000)
"""
WRITE_CUTS = """
import sys
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
path, n = sys.argv[1], int(sys.argv[2])
def cut(k):
    i = f"clip{k:07d}"
    source = AudioSource("file", [0], f"audio/{i}.flac")
    r = Recording(id=i, sources=[source], sampling_rate=16000, num_samples=72000, duration=4.5)
    s = SupervisionSegment(id=i, recording_id=i, start=0, duration=4.5, text="the words of this clip", speaker="s")
    return MonoCut(id=i, start=0, duration=4.5, channel=0, recording=r, supervisions=[s])
CutSet.from_cuts(cut(k) for k in range(n)).to_file(path)
"""
LHOTSE = """
import sys, time, psutil
from lhotse import CutSet
path = sys.argv[1]
before, started = psutil.Process().memory_info().rss / 1e6, time.perf_counter()
cuts = CutSet.from_file(path).to_eager(); total = sum(c.duration for c in cuts)
opened, memory = time.perf_counter() - started, psutil.Process().memory_info().rss / 1e6 - before
started = time.perf_counter(); total = sum(c.duration for c in CutSet.from_jsonl_lazy(path))
lazy = time.perf_counter() - started
print(opened, memory, lazy)
"""


def run() -> None:
    times = CLIPS / LHOTSE_CLIPS
    with tempfile.TemporaryDirectory() as place:
        path, cuts = str(Path(place) / "manifest.arrow"), str(Path(place) / "cuts.jsonl")
        _run(WRITE, path, str(CLIPS))
        _run(WRITE_CUTS, cuts, str(LHOTSE_CLIPS))
        rounds = [(_run(OURS, path), _run(LHOTSE, cuts)) for _ in range(ROUNDS)]
    opened, memory, epoch, row = (statistics.median(values) for values in zip(*(o for o, _ in rounds), strict=True))
    eager, their_memory, lazy = (statistics.median(values) for values in zip(*(t for _, t in rounds), strict=True))
    print(f"  ours, {CLIPS:,} clips: opened, checked, with durations in {opened:.3f} s, {memory:.0f} MB,")
    print(f"    order of an epoch {epoch:.2f} s, one row {row * 1e6:.0f} µs")
    print(f"  lhotse, {LHOTSE_CLIPS:,} cuts (× {times:g} below): eager {eager:.1f} s, {their_memory:.0f} MB,")
    print(f"    lazy pass {lazy:.1f} s")
    claim("resident memory, MB", memory, 60, at_least=False)
    claim("open, check and read all durations, s", opened, 1.0, at_least=False)
    claim("memory of lhotse eager over ours", their_memory * times / max(memory, 1), 30)
    over_lazy = statistics.median(theirs[2] * times / ours[0] for ours, theirs in rounds)
    claim("lhotse's lazy pass over our open", over_lazy, 100)


def _run(code: str, *words: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    return [float(x) for x in done.stdout.split()]
