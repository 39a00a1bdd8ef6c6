"""The fuzzing command: its harness sees every kind of harm, and its cases are the same every time."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.fuzzing import attacks, mutations, structured
from benchmarks.fuzzing.cases import Case, find_target, target_names
from benchmarks.fuzzing.sandbox import Box, Limits, attempt, not_finite, same
from benchmarks.fuzzing.worker import save

from tests.fuzz_target import WAYS

ROOT = Path(__file__).parents[1]
LIMITS = Limits(memory_gb=1.0, cpu_s=1.0, disk_mb=1)


def planted(folder: Path, way: str) -> tuple[Case, Path]:
    """Return the case of a kept input that does ``way``, and the folder of good files."""
    kept = folder / "kept"
    (kept / "input").mkdir(parents=True)
    (kept / "input" / "clip.txt").write_text(way)
    (kept / "case.json").write_text(json.dumps({"what": way, "harmful": way == "shorter"}))
    goods = folder / "goods" / "tests.fuzz_target"
    goods.mkdir(parents=True)
    (goods / "good.answer").write_bytes(pickle.dumps([1, 2]))
    return Case("tests.fuzz_target", replayed=str(kept / "input"), good_name="good"), folder / "goods"


@pytest.mark.parametrize("way", WAYS)
def test_the_harness_sees_what_a_case_does(way, tmp_path):
    case, goods = planted(tmp_path, way)
    outcome = attempt(case, Box(tmp_path / "box"), goods, LIMITS)
    assert outcome.kind == WAYS[way], (outcome.kind, outcome.place, outcome.log)
    if way == "crash":
        assert "SIGSEGV" in outcome.place and "in use" in outcome.log


def test_a_crash_is_kept_and_is_one_in_a_fresh_interpreter_too(tmp_path):
    case, goods = planted(tmp_path, "crash")
    box = Box(tmp_path / "box")
    saved = save(case, attempt(case, box, goods, LIMITS), box, tmp_path / "bad")
    assert (saved / "input" / "clip.txt").read_text() == "crash"
    assert json.loads((saved / "case.json").read_text())["kind"] == "CRASH"
    assert attempt(case, box, goods, LIMITS, alone=True).kind == "CRASH"


def test_a_fault_of_the_harness_is_not_counted_as_one_of_sonolex(tmp_path):
    case, goods = planted(tmp_path, "answer")
    shutil.rmtree(Path(case.replayed))
    with pytest.raises(RuntimeError, match="must reach its door"):
        attempt(case, Box(tmp_path / "box"), goods, LIMITS)


def test_the_command_runs_and_counts_every_case(tmp_path):
    words = [
        sys.executable,
        "-m",
        "benchmarks",
        "fuzz",
        "--targets",
        "audio",
        "tokenizers",
        "--cases",
        "24",
    ]
    words += ["--no-attacks", "--workers", "1", "--seconds", "5", "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=100)
    found = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert {sum(f["counts"].values()) for f in found.values()} == {24}, done.stdout + done.stderr
    assert not any(f["counts"].get(kind) for f in found.values() for kind in ("unmade", "RAN", "WROTE", "CRASH"))
    assert "cases/s" in done.stdout and done.returncode in (0, 1)


def test_every_target_has_its_parts_and_every_attack_a_good_file():
    for name in target_names():
        target = find_target(name)
        assert target.__doc__ and all(callable(getattr(target, part)) for part in ("warm", "make", "mutate", "use"))
        assert name in attacks.GOODS
    assert sum(len(attacks.of_target(name)) for name in target_names()) > 100


def test_changes_depend_on_the_seed_alone(tmp_path):
    def changed(seed: int) -> list[bytes]:
        found = []
        for number in range(16):
            file = tmp_path / "x.json"
            file.write_text(json.dumps({"a": [1, {"b": "c"}], "d": 0.5}))
            change = structured.change_json if number % 2 else mutations.change_bytes
            change(file, random.Random(f"{seed}/{number}"))
            found.append(file.read_bytes())
        return found

    assert changed(0) == changed(0) != changed(1)
    assert len(set(changed(0))) > 12


def test_answers_are_compared_and_searched_for_numbers_that_are_none():
    import numpy as np

    wave = np.arange(4.0)
    assert same({"a": wave + 1e-9, "b": [1, "x"]}, {"a": wave, "b": [1, "x"]})
    assert not same({"a": wave[:3]}, {"a": wave}) and not same([1], [1, 2]) and not same({"a": 1}, {})
    assert not_finite({"a": [{"b": float("inf")}]}) and not_finite(np.array([np.nan]))
    assert not not_finite({"a": [1, "nan", None], "b": wave})
