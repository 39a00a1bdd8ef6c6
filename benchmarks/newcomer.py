"""`sonolex fit` as a newcomer runs it: EMO-DB and FSDD as plain CSVs, with mistakes, then single-file predictions.

Not a timing: ten minutes of trainings that show scores beside floors, what mistakes look like, and that one file
predicted from Python and from the command line gets the scores of the evaluation. Runs only when named::

    python -m benchmarks newcomer
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import sonolex
from sonolex.data.corpora import emodb, fsdd
from sonolex.data.manifest import Manifest, read_manifest
from sonolex.protocols.emodb4_unseen_speakers import EMOTIONS

ONLY_WHEN_NAMED = True
DATA = Path(os.environ.get("SONOLEX_DATA", "../shared/data"))
NUM_PREDICTED = 5
# table, corpus, columns, label; a column "text/2" is filled in every second row only
TABLES = (
    ("emodb_all", "emodb", ("audio", "text", "speaker", "emotion"), "emotion"),
    ("emodb_some_text", "emodb", ("audio", "text/2", "speaker", "emotion"), "emotion"),
    ("emodb_audio_only", "emodb", ("audio", "emotion"), "emotion"),
    ("fsdd_speakers", "fsdd", ("audio", "speaker", "digit"), "digit"),
    ("fsdd_no_speakers", "fsdd", ("audio", "digit"), "digit"),
)


def run() -> None:
    emotional = emodb.prepare(DATA / "emodb4", emotions=EMOTIONS)
    corpora = {"emodb": emotional, "fsdd": fsdd.prepare(DATA / "fsdd")}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _mistakes(corpora["emodb"], folder)
        for name, corpus, columns, label in TABLES:
            table = write_table(folder / f"{name}.csv", corpora[corpus], columns)
            out = folder / name
            # One test part, so that the saved model is the one that was evaluated; the default cross-validates.
            words = ["fit", str(table), "--label", label, "--folds", "none", "--minutes", "2"]
            print(f"\n$ sonolex fit {table.name} {' '.join(words[2:])}", flush=True)
            print(_sonolex(*words, "--out", str(out), "--quiet"))
            largest = _largest_difference(out / "run", table, label)
            print(f"{NUM_PREDICTED} files of the test part, largest difference to the evaluation's scores:", largest)


def write_table(path: Path, corpus: Manifest, columns: Sequence[str], *, header: Sequence[str] = (), broken: int = 0):
    """Write a CSV as a newcomer has one; the first ``broken`` rows name files that are not there."""
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(header or [c.split("/")[0] for c in columns])
        for number, clip in enumerate(corpus):
            audio = Path(str(clip.audio)).resolve() if number >= broken else f"gone_{number}.wav"
            values = {"audio": audio, "text": clip.text, "speaker": clip.speaker, **clip.labels}
            values["text/2"] = clip.text if number % 2 else ""
            writer.writerow([values[c] for c in columns])
    return path


def _mistakes(corpus: Manifest, folder: Path) -> None:
    columns = ("audio", "text", "speaker", "emotion")
    typos = write_table(folder / "typos.csv", corpus, columns, header=("adio", "text", "speeker", "emotoin"))
    broken = write_table(folder / "broken.csv", corpus, columns, broken=10)
    for table in (typos, broken):
        print(f"\n$ sonolex fit {table.name} --label emotion")
        print(_sonolex("fit", str(table), "--label", "emotion", "--out", str(folder / "never"), expected=2))


def _largest_difference(run: Path, table: Path, label: str) -> float:
    """Return how far predictions of single files, from Python and the command line, are from the saved evaluation."""
    saved = json.loads((run / "predictions" / f"{label}.json").read_text())
    manifest = read_manifest(run.parent / "manifest.arrow")
    model = sonolex.load(run)
    uses_text = "text" in table.read_text(encoding="utf-8").splitlines()[0].split(",")
    largest = 0.0
    for number in range(0, len(saved["clip_ids"]), max(1, len(saved["clip_ids"]) // NUM_PREDICTED)):
        clip = manifest.take(manifest.rows_of([saved["clip_ids"][number]]))[0]
        text = clip.text if uses_text and clip.text else None
        command = ["predict", str(run), str(clip.audio), *(["--text", text] if text else [])]
        answers = [model.predict(audio=clip.audio, text=text), json.loads(_sonolex(*command))]
        expected = dict(zip(saved["options"]["classes"], saved["scores"][number], strict=True))
        for answer in answers:
            largest = max(largest, *(abs(answer[label]["scores"][c] - expected[c]) for c in expected))
    return largest


def _sonolex(*words: str, expected: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "sonolex", *words], capture_output=True, text=True)
    if done.returncode != expected:
        raise RuntimeError(
            f"sonolex {' '.join(words)} must exit {expected}, but exits {done.returncode}: {done.stderr}"
        )
    return (done.stdout + done.stderr).strip() if expected else done.stdout.strip()
