"""Sweeps: what is searched, that nothing sees test data, and that processes may die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sonolex.data.loader import Loading
from sonolex.train import sources
from sonolex.train.run import Budget
from sonolex.train.sweep import Choice, parse_choice, sweep
from tests.train.helpers import PITCH, small_run

optuna = pytest.importorskip("optuna")
ROOT = Path(__file__).parents[2]
BUDGET = Budget(epochs=2, batch_s=8, batch_clips=8)
SPACE = (Choice("optim.lr", 1e-4, 1e-2, log=True), Choice("epochs", values=(1, 2)))
PROGRAM = """
import sys
from pathlib import Path
import torch
from tests.train.test_sweep import SPACE, recipe_of
from sonolex.train.sweep import sweep
torch.set_num_threads(1)
sweep(recipe_of(sys.argv[1]), SPACE, Path(sys.argv[2]), trials=int(sys.argv[3]), quiet=True)
"""


def recipe_of(corpus_folder):
    def recipe(*, epochs: int = 2):
        first = small_run(
            corpus_folder,
            name="first",
            tasks=(PITCH,),
            budget=replace(BUDGET, epochs=1),
            data=small_run(corpus_folder).data,
        )
        quiet = replace(first.data, loading=Loading(num_workers=0))
        last = replace(first, name="last", init_from="first", budget=replace(BUDGET, epochs=epochs), data=quiet)
        return [replace(first, data=replace(quiet, report=())), last]

    return recipe


def test_choices_are_read_from_the_command_line():
    assert parse_choice("a.b=0:0.5") == Choice("a.b", 0.0, 0.5)
    assert parse_choice("n=1:8:log") == Choice("n", 1.0, 8.0, log=True, whole=True)
    assert parse_choice("x=1,0.5,on,true").values == (1, 0.5, "on", True)
    for wrong in ("lr", "lr=", "lr=2:1", "lr=1:2:linear", "lr=a:b"):
        with pytest.raises(ValueError, match=r"lr|space"):
            parse_choice(wrong)


def test_a_sweep_finds_the_better_values_shares_its_pretraining_and_never_reports(corpus, tmp_path, monkeypatch):
    read = []
    load = sources.load_source
    monkeypatch.setattr(sources, "load_source", lambda s: (read.append(s), load(s))[1])
    found = sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=6, quiet=True)
    assert {s.where["split"] for s in read} == {"train", "validation"}
    finished = [t for t in found["trials"] if t["state"] in ("complete", "pruned")]
    assert len(finished) == 6 and found["value"] == max(t["value"] for t in finished if t["state"] == "complete")
    assert len(list((tmp_path / "earlier").glob("*/results.json"))) == 1
    assert set(found["best"]) == {"optim.lr", "epochs"} and set(found["importance"]) <= {"optim.lr", "epochs"}
    assert not list(tmp_path.rglob("predictions"))
    again = sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=6, quiet=True)
    assert again == found  # a finished study is only read
    assert json.loads((tmp_path / "sweep.json").read_text()) == found


def test_unknown_names_are_refused_before_any_trial(corpus, tmp_path):
    for name, hint in (("optim.lrr", "Did you mean 'lr'"), ("config.dropout.x", "none")):
        with pytest.raises(ValueError, match=hint):
            sweep(recipe_of(corpus.root), [Choice(name, 0.1, 0.2)], tmp_path, trials=1)
    with pytest.raises(ValueError, match="first, last"):
        sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=1, run="middle")
    assert not (tmp_path / "study.log").exists()


def test_values_that_make_no_run_fail_their_trial_and_are_told(corpus, tmp_path):
    space = [Choice("config.num_heads", values=(3,))]  # 32 channels do not divide
    with pytest.raises(ValueError, match=r"no trial .* was completed.*num_heads"):
        sweep(recipe_of(corpus.root), space, tmp_path, trials=1, quiet=True)


def test_two_processes_share_a_study_and_a_killed_one_is_taken_over(corpus, tmp_path):
    words = [sys.executable, "-c", PROGRAM, str(corpus.root), str(tmp_path), "5"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'"}"}
    first, second = (
        subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("trials/*/journal.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    found = sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=5, quiet=True)
    states = [t["state"] for t in found["trials"]]
    assert states.count("complete") + states.count("pruned") == 5 and "running" not in states


def test_a_dead_processes_trial_keeps_its_values(corpus, tmp_path):
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log")))
    study = optuna.create_study(study_name="sweep", storage=storage, direction="maximize")
    dead = study.ask()
    dead.suggest_float("optim.lr", 1e-4, 1e-2, log=True)
    dead.suggest_categorical("epochs", [1, 2])
    found = sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=1, quiet=True)
    assert [t["state"] for t in found["trials"]] == ["fail", "complete"]
    assert found["best"] == dead.params
