from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from sonolex.data.manifest import manifest_from_rows
from sonolex.locks import holding
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.manifests import batching_s, load_source, load_sources
from sonolex.train.run import Budget, Data, Source
from sonolex.train.series import train_all
from tests.train.helpers import MOOD, small_run


def two_runs(corpus) -> list:
    budget = Budget(epochs=1, batch_s=8)
    first = small_run(corpus.root, name="first", tasks=(PretrainingConfig("pretraining"),), budget=budget)
    return [first, small_run(corpus.root, name="second", tasks=(MOOD,), budget=budget, init_from="first")]


def test_a_later_run_starts_from_an_earlier_one_and_finished_runs_are_not_repeated(corpus, tmp_path):
    lines: list[str] = []
    first, second = train_all(two_runs(corpus), tmp_path, quiet=True, say=lines.append)
    assert [s.split(":")[0] for s in lines] == ["[1/2] first", "[2/2] second"] and "mood accuracy" in lines[1]
    assert second["init_from"] == "first" and first["init_from"] is None
    events = [json.loads(s) for s in (tmp_path / "second" / "journal.jsonl").read_text().splitlines()]
    (random,) = [e["random_weights"] for e in events if e["event"] == "init"]
    assert random and not [name for name in random if "layers" in name]  # heads only: the backbone is the first run's
    before = (tmp_path / "second" / "journal.jsonl").read_bytes()
    assert train_all(two_runs(corpus), tmp_path, quiet=True, say=lines.append)[1]["scores"] == second["scores"]
    assert (tmp_path / "second" / "journal.jsonl").read_bytes() == before


def test_commands_that_share_a_folder_share_its_runs(corpus, tmp_path):
    lines: list[str] = []
    runs = [*two_runs(corpus), replace(two_runs(corpus)[1], name="third")]
    taken = threading.Event()

    def other_command():  # holds the first run until this one has looked at it
        with holding(tmp_path, "third"):
            taken.set()
            time.sleep(3)

    thread = threading.Thread(target=other_command)
    thread.start()
    taken.wait()
    results = train_all([runs[0], runs[2], runs[1]], tmp_path, quiet=True, say=lines.append)
    thread.join()
    assert [s.split(":")[0] for s in lines] == [
        "[1/3] first",
        "[3/3] second",
        "[2/3] third",
    ]  # what is free comes first
    assert [r["run"] for r in results] == ["first", "third", "second"]


WAITING = """
import os, time
from pathlib import Path
def recipe():
    (Path(__file__).parent / f"helper-{os.getpid()}").touch()
    time.sleep(60)
"""
PARENT = """
import sys, time
from sonolex.train.series import helpers
with helpers(["train", "waiting.recipe", "--out", sys.argv[1]], 2):
    time.sleep(60)
"""


def test_helpers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "waiting").mkdir()
    (tmp_path / "waiting" / "recipe.py").write_text(WAITING)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL, process_group=0
    )
    deadline = time.monotonic() + 60
    while len(pid_files := list(tmp_path.glob("waiting/helper-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(p.name.partition("-")[2]) for p in pid_files]
    assert len(pids) == 2 and all(map(_runs, pids))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while any(map(_runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_runs, pids))


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_runs_of_one_name_are_refused(corpus, tmp_path):
    first, second = two_runs(corpus)
    with pytest.raises(ValueError, match="different names"):
        train_all([first, replace(second, name="first")], tmp_path, quiet=True)


def test_runs_that_wait_for_each_other_are_refused(corpus, tmp_path):
    _, second = two_runs(corpus)
    with pytest.raises(ValueError, match="must not start from themselves or each other, but second do"):
        train_all([replace(second, init_from="second")], tmp_path, quiet=True)


def test_another_processor_than_that_of_the_start_is_refused_by_field(corpus, tmp_path):
    first, second = two_runs(corpus)
    other = replace(second, processor=replace(second.processor, num_mels=24))
    with pytest.raises(ValueError, match=r"that of first.*num_mels \(20 → 24\)"):
        train_all([first, other], tmp_path, quiet=True)


def test_sources_filter_rename_and_join(corpus):
    path = str(corpus.root / "manifest.arrow")
    test = load_source(Source(manifest=path, where={"split": "test"}, rename={"mood": "feeling"}))
    assert set(test.column("split")) == {"test"} and test.column("feeling") == test.column("mood")
    whole = load_sources((Source(manifest=path), Source(manifest=path, where={"split": "test"})))
    assert len(whole) == len(load_source(Source(manifest=path)))  # a clip given twice counts once
    with pytest.raises(ValueError, match="exactly one"):
        Source(manifest=path, corpus="fsdd")


def test_text_without_audio_is_batched_by_its_reading_time():
    rows = [{"id": "a", "text": "x" * 30, "duration_s": 0.0}, {"id": "b", "text": "x", "duration_s": 3.0}]
    assert np.allclose(batching_s(manifest_from_rows(rows)), [2.0, 3.0])


def test_data_of_a_protocol_names_its_three_parts():
    data = Data.of_protocol("tonewords_tone", "unseen", options={"size": "tiny"})
    assert [s.part for s in (*data.train, *data.selection, *data.report)] == ["train", "selection", "report"]
    assert data.protocol == "tonewords_tone" and data.fold == "unseen"
