"""A run's folder: one process at a time, leftovers of killed ones, and files that older versions left half-written."""

from __future__ import annotations

import pytest

from sonolex.locks import Held, holding
from sonolex.train.folder import LOCK, entered, finished
from sonolex.train.loop import train
from sonolex.train.probing import probe
from tests.train.helpers import MOOD, small_run


def test_a_second_training_or_probing_names_the_process_that_trains_in_the_folder(corpus, tmp_path):
    with holding(tmp_path, LOCK):
        with pytest.raises(Held, match=r"another process \(pid \d+ on .* trains in it"):
            train(small_run(corpus.root), tmp_path, quiet=True)
        with pytest.raises(Held, match="trains in it"):
            probe(small_run(corpus.root, tasks=(MOOD,), frozen_classifier="linear"), tmp_path)


def test_what_killed_processes_left_is_gone(corpus, tmp_path):
    for name in (
        ".building-7.ab-results.json",
        "checkpoints/.building-7.ab-best/x",
        "predictions/.building-7.ab-a.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / ".replaced-7.ab-model").mkdir()
    with entered(tmp_path, small_run(corpus.root)):
        pass
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if ".locks" not in str(p)) == [
        "checkpoints",
        "model",
        "predictions",
    ]


@pytest.mark.parametrize("name", ["results.json", "recipe.json"])
def test_a_half_written_file_is_named_with_its_cure(corpus, tmp_path, name):
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / name).write_text('{"run": "sma')
    with pytest.raises(ValueError, match=rf"{name} must hold JSON.*Remove this file"):
        finished(tmp_path, small_run(corpus.root))
