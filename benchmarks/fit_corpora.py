"""`sonolex fit` on five real corpora and a skewed one, three split seeds each: what wins, beside every floor.

EMO-DB, FSDD, RAVDESS, nEMO and ESC-10 as plain CSVs (from the folder of $SONOLEX_DATA), and RAVDESS thinned to classes
of 382, 27, 24, 16 and 8 clips. Claim: in no case is what fit gives more than one standard error below the best floor; a
standard error is a quarter of the width of its interval over speakers. Hours on two cores, so it runs only when named::

    python -m benchmarks fit_corpora --out runs/fit_corpora

Nothing but ``--split-seed`` is set; networks get the time that fit gives them by default. The same command goes on
where it stopped. ``--corpora emodb,esc10`` and ``--seeds 1`` make it shorter.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonolex.data.corpora import ravdess
from sonolex.data.manifest import Manifest, read_manifest
from sonolex.doors.fit import fit
from sonolex.results.compare import best_floor, compare_runs

ONLY_WHEN_NAMED = True
DATA = Path(os.environ.get("SONOLEX_DATA", "../shared/data"))
SKEWED = {"other": (("calm", "happy"), 382), "sad": (("sad",), 27), "angry": (("angry",), 24)}
SKEWED |= {"fear": (("fearful",), 16), "disgust": (("disgusted",), 8)}
CORPORA = ("emodb", "fsdd", "ravdess", "nemo", "esc10", "skewed")


def run(words: Sequence[str] = ()) -> None:
    """Fit every corpus with every split seed and print a line each; ``words`` are options as on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fit_corpora")
    parser.add_argument("--minutes", type=float, help="for networks, in each fit (default: fit's own)")
    parser.add_argument("--out", type=Path, default=Path("runs/fit_corpora"), help="of tables, fits and log.jsonl")
    parser.add_argument("--seeds", type=int, default=3, help="number of split seeds")
    parser.add_argument("--corpora", default=",".join(CORPORA), help="names with commas")
    options = parser.parse_args(words)
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.corpora.split(","):
        path, label = write_table(name, options.out)
        for seed in range(options.seeds):
            out = options.out / f"{name}-{seed}"
            line = fitted(name, path, label, out, seed=seed, minutes=options.minutes)
            with (options.out / "log.jsonl").open("a", encoding="utf-8") as f:
                f.write(json.dumps(line) + "\n")
            print(shown(line), flush=True)
            if line["below_by_standard_errors"] > 1:
                failed.append(f"{name}, split seed {seed}")
    if failed:
        raise AssertionError(f"fit must not end a standard error below a floor, but does for {'; '.join(failed)}.")


def write_table(name: str, folder: Path) -> tuple[Path, str]:
    """Write a corpus as a CSV; return its path and the column to predict."""
    rows, label = rows_of(name)
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path, label


def rows_of(name: str) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of a corpus as a user has them, and the column to predict."""
    if name == "esc10":
        return _rows(read_manifest(DATA / "esc10"), "sound_event", ("audio",)), "sound_event"
    if name == "fsdd":
        return _rows(read_manifest(DATA / "fsdd"), "digit", ("audio", "speaker")), "digit"
    if name == "emodb":
        return _rows(read_manifest(DATA / "emodb4"), "emotion", ("audio", "speaker")), "emotion"
    if name == "nemo":
        return _rows(read_manifest(DATA / "nemo"), "emotion", ("audio", "text", "speaker")), "emotion"
    rows = _rows(ravdess.prepare(DATA / "ravdess"), "emotion", ("audio", "speaker"))
    return (thinned(rows) if name == "skewed" else rows), "emotion"


def _rows(clips: Manifest, label: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    values = {"text": clips.column("text"), "speaker": clips.column("speaker"), label: clips.column(label)}
    values["audio"] = [str(Path(str(clip.audio)).resolve()) for clip in clips]
    return [{c: values[c][i] for c in (*columns, label)} for i in range(len(clips))]


def thinned(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return so few clips of each class that the largest has 48 times as many as the smallest."""
    rng, found = np.random.default_rng(0), []
    for label, (emotions, count) in SKEWED.items():
        own = [row for row in rows if row["emotion"] in emotions]
        found += [own[i] | {"emotion": label} for i in rng.permutation(len(own))[:count]]
    return [found[i] for i in rng.permutation(len(found))]


def fitted(name: str, path: Path, label: str, out: Path, *, seed: int, minutes: float | None) -> dict[str, Any]:
    """Return what a fit came to, as numbers by name."""
    began, said = time.monotonic(), []
    options = {"split_seed": seed, "minutes": minutes, "quiet": True}
    results = fit(path, label=label, out=out, say=lambda t: said.append(str(t)), **options)
    (out / "said.txt").write_text("\n".join(said), encoding="utf-8")
    table = compare_runs([out])[0]
    own, floor = next(r for r in table.rows if r.name == "fit"), best_floor(table)
    assert floor is not None and own.interval is not None
    value, of_floor = own.mean(table.primary) or 0.0, floor.mean(table.primary) or 0.0
    error = max(1e-9, (own.interval[1] - own.interval[0]) / 4)
    return {
        "corpus": name,
        "split_seed": seed,
        "clips": table.num_clips,
        "metric": table.primary,
        "fit": value,
        "interval": own.interval,
        "winner": results["winner"],
        "best_floor": floor.name.removeprefix("floor: "),
        "floor": of_floor,
        "below_by_standard_errors": (of_floor - value) / error,
        "candidates": {r.name: r.mean(table.primary) for r in table.rows if r is not own},
        "minutes": (time.monotonic() - began) / 60,
        "verdict": results["verdict"],
    }


def shown(line: dict[str, Any]) -> str:
    """Return a fit as one line and one for its candidates."""
    low, high = line["interval"]
    candidates = ", ".join(f"{n.partition(': ')[2]} {v:.3f}" for n, v in line["candidates"].items())
    head = f"{line['corpus']:8} split seed {line['split_seed']}: {line['fit']:.3f} [{low:.3f}, {high:.3f}]"
    floor = f"best floor {line['floor']:.3f} ({line['best_floor']})"
    return f"{head} ({line['winner']}), {floor}, {line['minutes']:.1f} min\n           {candidates}"
