"""Several processes through the command line: ``torchrun … -m sonolex train RECIPE``.

`benchmarks.processes` does the same with other recipes, three processes and many kills.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest
import torch
from benchmarks._torchrun import largest_difference, seconds_until_ended, started, weights, workers

from sonolex.cli import main
from sonolex.train import group
from sonolex.train.journal import read_journal, training_curve
from sonolex.train.series import helpers, train_all
from tests.train.two_runs import recipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
RUNS = ("pretrain", "finetune", "probe")
ENDED = "another process of this training ended"


def words(manifest, folder) -> list[str]:
    return ["train", "tests.train.two_runs", "--manifest", str(manifest), "--out", str(folder), "--quiet"]


@pytest.fixture(scope="module")
def manifest(corpus):
    return corpus.root / "manifest.arrow"


@pytest.fixture(scope="module")
def two(manifest, tmp_path_factory):
    """The folder and the output of a command on two processes."""
    folder = tmp_path_factory.mktemp("two")
    launcher = started(words(manifest, folder), 2)
    output = launcher.communicate()[0]
    assert launcher.returncode == 0, output
    return folder, output


def numbers(value, name=""):
    """Every number in nested results, by its path."""
    if isinstance(value, dict):
        return {k: v for n, inner in value.items() for k, v in numbers(inner, f"{name}/{n}").items()}
    return {name: value} if isinstance(value, int | float) else {}


def results(folder, run):
    return json.loads((folder / run / "results.json").read_text())


def test_two_processes_train_what_one_does_with_dropout_and_score_what_they_saved(two, manifest, tmp_path):
    folder, output = two
    alone = train_all(recipe(manifest=str(manifest)), tmp_path, quiet=True)
    assert largest_difference(folder, tmp_path) < 1e-5
    for run, one in zip(RUNS, alone, strict=True):
        run_results = results(folder, run)
        by_two, by_one = (
            numbers({k: r.get(k) for k in ("scores", "losses", "selection_value", "selected_step", "trained_clips")})
            for r in (run_results, one)
        )
        assert by_two.keys() == by_one.keys() and by_two
        assert by_two == pytest.approx(by_one, abs=1e-5), run
        saved = (json.loads((f / run / "predictions" / "pitch.json").read_text()) for f in (folder, tmp_path))
        if run != "pretrain":
            first, second = saved
            assert first["clip_ids"] == second["clip_ids"]
            assert torch.allclose(torch.tensor(first["scores"]), torch.tensor(second["scores"]), atol=2e-5)
    for run in ("pretrain", "finetune"):  # the journal counts everybody's clips
        assert training_curve(folder / run, "step", "clips") == training_curve(tmp_path / run, "step", "clips")
    lines = [line for line in output.splitlines() if line.startswith("[") or "Results are in" in line]
    assert [line.split(":")[0] for line in lines[:-1]] == ["[1/3] pretrain", "[2/3] finetune", "[3/3] probe"]
    assert len(lines) == 4


def test_a_killed_process_ends_the_other_with_a_message_and_the_same_command_gives_the_same_bits(
    two, manifest, tmp_path
):
    launcher = started(words(manifest, tmp_path), 2)
    pids = workers(launcher, 2)
    while not any(e["event"] == "step" and e["step"] >= 2 for e in read_journal(tmp_path / "finetune")):
        assert launcher.poll() is None, launcher.communicate()[0]
        time.sleep(0.01)
    os.kill(pids[1], signal.SIGKILL)
    assert seconds_until_ended([pids[0]]) < 10
    output = launcher.communicate()[0]
    assert launcher.returncode != 0
    (line,) = [line for line in output.splitlines() if line.startswith("sonolex train:")]
    assert f"{ENDED} (rank 1); the same command goes on from the last checkpoint" in line
    assert output.count("Traceback") <= 1 and "[rank0]" not in output  # torchrun's own
    again = started(words(manifest, tmp_path), 2)
    output = again.communicate()[0]
    assert again.returncode == 0, output
    assert any(e["event"] == "resume" for e in read_journal(tmp_path / "finetune"))
    resumed, uninterrupted = weights(tmp_path), weights(two[0])
    assert resumed.keys() == uninterrupted.keys() and all(torch.equal(resumed[n], uninterrupted[n]) for n in resumed)
    for run in RUNS:  # steps that were repeated count once
        assert results(tmp_path, run)["trained_clips"] == results(two[0], run)["trained_clips"]


def test_a_process_prints_that_another_was_killed_even_where_only_the_first_one_prints(tmp_path):
    mark = tmp_path / "here"
    launcher = started(["train", "tests.train.slow_second", "--mark", str(mark), "--out", str(tmp_path / "runs")], 2)
    pids = workers(launcher, 2)
    while not mark.exists():
        assert launcher.poll() is None, launcher.communicate()[0]
        time.sleep(0.01)
    os.kill(pids[0], signal.SIGKILL)
    assert seconds_until_ended([pids[1]]) < 10
    assert f"sonolex train: {ENDED} (rank 0)" in launcher.communicate()[0]


def test_a_clip_that_one_process_cannot_read_ends_both_and_a_shared_error_is_printed_once(corpus, tmp_path):
    broken = corpus.where(split="train").with_absolute_audio()
    (tmp_path / "noise.wav").write_bytes(b"noise")
    audio = [str(tmp_path / "noise.wav") if i == 3 else c.audio for i, c in enumerate(broken)]
    broken.with_column("audio", audio).write(tmp_path / "manifest.arrow")
    one, all_ = (
        started(words(tmp_path / name, tmp_path / f"runs of {name}"), 2) for name in ("manifest.arrow", "no.arrow")
    )
    output = one.communicate()[0]
    problem, other = sorted((x for x in output.splitlines() if x.startswith("sonolex train:")), key=len)
    assert one.returncode != 0 and "noise.wav" in problem and ENDED not in problem
    assert f"{ENDED} (rank " in other and "noise.wav" in other
    output = all_.communicate()[0]
    (line,) = [line for line in output.splitlines() if line.startswith("sonolex train:")]
    assert all_.returncode != 0 and "no.arrow does not exist" in line


def test_what_several_processes_cannot_share_is_refused_by_one_of_them(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["doctor"]) == 2
    assert "`doctor` must be one process, but torchrun started 2" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        main(["doctor"])
    assert not capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train"])
    with group.said_once():
        print("once")
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ValueError, match="`--processes` must be 1 under torchrun, whose 2 processes"), helpers([], 1):
        pass


def test_alone_a_process_is_a_group_of_one(monkeypatch):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    with group.together("train", shared=True), group.first_alone():
        group.join()
        group.wait()
        assert group.is_first() and group.world_size() == 1
        assert group.gathered("here") == ["here"] and group.said_by_first(lambda: 3) == 3
    assert group.summed([{"a": 1.0}, {"a": 2.0, "b": 1.0}]) == {"a": 3.0, "b": 1.0}
