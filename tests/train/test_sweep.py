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
from sonolex.train import manifests
from sonolex.train.run import Budget
from sonolex.train.sweep import Choice, parse_choice, sweep
from tests.train.helpers import PITCH, small_run

optuna = pytest.importorskip("optuna")
ROOT = Path(__file__).parents[2]
TRIALS = 4
BUDGET = Budget(epochs=2, batch_s=8, batch_clips=8)
SPACE = (Choice("optim.lr", 1e-4, 1e-2, log=True), Choice("epochs", values=(1, 2)))
TWO_RATES = (Choice("optim.lr", values=(1e-3, 3e-3)),)  # more trials than values: they repeat
PROGRAM = """
import sys
from pathlib import Path
import torch
from tests.train import test_sweep
from sonolex.train.sweep import sweep
torch.set_num_threads(1)
space, storage = getattr(test_sweep, sys.argv[4]), sys.argv[5]
recipe = test_sweep.recipe_of(sys.argv[1])
sweep(recipe, space, Path(sys.argv[2]), trials=int(sys.argv[3]), storage=storage, prune=False, quiet=True)
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
    load = manifests.load_source
    monkeypatch.setattr(manifests, "load_source", lambda s: (read.append(s), load(s))[1])
    summary = sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=6, quiet=True)
    assert {s.where["split"] for s in read} == {"train", "validation"}
    finished = [t for t in summary["trials"] if t["state"] in ("complete", "pruned")]
    assert len(finished) == 6 and summary["value"] == max(t["value"] for t in finished if t["state"] == "complete")
    assert len(list((tmp_path / "earlier").glob("*/results.json"))) == 1
    assert set(summary["best"]) == {"optim.lr", "epochs"} and set(summary["importance"]) <= {"optim.lr", "epochs"}
    assert not list(tmp_path.rglob("predictions"))
    again = sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=6, quiet=True)
    assert again == summary  # a finished study is only read
    assert json.loads((tmp_path / "sweep.json").read_text()) == summary


def test_unknown_names_are_refused_before_any_trial(corpus, tmp_path):
    for name, hint in (("optim.lrr", "Did you mean 'lr'"), ("config.dropout.x", "none")):
        with pytest.raises(ValueError, match=hint):
            sweep(recipe_of(corpus.root), [Choice(name, 0.1, 0.2)], tmp_path, trials=1)
    with pytest.raises(ValueError, match="first, last"):
        sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=1, run="middle")
    assert not (tmp_path / "study.log").exists()


def test_values_that_no_run_can_have_fail_their_trial_and_are_reported(corpus, tmp_path):
    space = [Choice("config.num_heads", values=(3,))]  # 32 channels do not divide
    with pytest.raises(ValueError, match=r"no trial .* was completed.*num_heads"):
        sweep(recipe_of(corpus.root), space, tmp_path, trials=1, quiet=True)


def begun(corpus, folder, space: str, storage: str = "") -> subprocess.Popen[str]:
    """Start a process that sweeps until the study has its trials."""
    words = [sys.executable, "-c", PROGRAM, str(corpus.root), str(folder), str(TRIALS), space, storage]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(words, cwd=ROOT, env=environment, **pipes, text=True)


@pytest.mark.parametrize("storage", ["", "sqlite:///{}/study.sqlite"], ids=["log", "sqlite"])
def test_processes_never_train_the_same_values_at_once(corpus, tmp_path, storage):
    """Seen before: two trials of the same values in one folder, their steps in each other's journal and checkpoints."""
    folders = [tmp_path / ("apart" if storage and number else "sweep") for number in range(2)]
    processes = [begun(corpus, folder, "TWO_RATES", storage.format(tmp_path)) for folder in folders]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0 and "Warning" not in output, output
    for journal in tmp_path.glob("*/trials/*/journal.jsonl"):
        steps = [e["step"] for e in map(json.loads, journal.read_text().splitlines()) if e["event"] == "step"]
        assert steps == list(range(1, len(steps) + 1))
    # Who ends first may still see the other's last trial running.
    summaries = [json.loads((folder / "sweep.json").read_text()) for folder in folders]
    summary = max(summaries, key=lambda s: sum(t["state"] == "complete" for t in s["trials"]))
    assert [t["state"] for t in summary["trials"]] == ["complete"] * TRIALS
    by_values = {t["values"]["optim.lr"]: t["value"] for t in summary["trials"]}
    assert all(t["value"] == by_values[t["values"]["optim.lr"]] for t in summary["trials"])


def test_a_line_that_a_killed_process_did_not_finish_does_not_spoil_the_study(corpus, tmp_path):
    sweep(recipe_of(corpus.root), TWO_RATES, tmp_path, trials=1, quiet=True)
    with (tmp_path / "study.log").open("a") as file:
        file.write('{"op_code": 4, "wor')
    summary = sweep(recipe_of(corpus.root), TWO_RATES, tmp_path, trials=2, quiet=True)
    assert [t["state"] for t in summary["trials"]] == ["complete"] * 2


def test_a_study_of_another_search_is_refused_with_what_differs(corpus, tmp_path):
    """Seen before: the trials of other values were counted, and nothing was searched."""
    sweep(recipe_of(corpus.root), TWO_RATES, tmp_path, trials=1, quiet=True)
    with pytest.raises(ValueError, match=r"must be of the same search, but differs in .*values"):
        sweep(recipe_of(corpus.root), [Choice("optim.lr", values=(1e-2,))], tmp_path, trials=1, quiet=True)


def test_a_database_that_cannot_be_written_is_one_line(corpus, tmp_path):
    (tmp_path / "study.sqlite").mkdir()
    with pytest.raises(OSError, match="cannot keep the study"):
        sweep(recipe_of(corpus.root), TWO_RATES, tmp_path, trials=1, storage=f"sqlite:///{tmp_path}/study.sqlite")


def test_two_processes_share_a_study_and_a_killed_one_is_taken_over(corpus, tmp_path):
    first, second = (begun(corpus, tmp_path, "SPACE") for _ in range(2))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("trials/*/journal.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    summary = sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=TRIALS, quiet=True)
    states = [t["state"] for t in summary["trials"]]
    assert states.count("complete") + states.count("pruned") == TRIALS and "running" not in states


def test_a_dead_processes_trial_keeps_its_values(corpus, tmp_path):
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log")))
    study = optuna.create_study(study_name="sweep", storage=storage, direction="maximize")
    dead = study.ask()
    dead.suggest_float("optim.lr", 1e-4, 1e-2, log=True)
    dead.suggest_categorical("epochs", [1, 2])
    summary = sweep(recipe_of(corpus.root), SPACE, tmp_path, trials=1, quiet=True)
    assert [t["state"] for t in summary["trials"]] == ["fail", "complete"]
    assert summary["best"] == dead.params
