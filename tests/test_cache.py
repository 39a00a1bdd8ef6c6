"""The cache: where it is, what it holds, how it is bounded and cleared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sonolex.cache import clear, contents, keep_within, most_bytes
from sonolex.cli import main
from sonolex.locks import holding


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache with three floors, a corpus, and a folder of the user's own."""
    monkeypatch.setenv("SONOLEX_CACHE", str(tmp_path))
    for name, size, used in (("old.npz", 400, 100), ("new.npz", 300, 300), ("middle.npz", 200, 200)):
        path = tmp_path / "floors" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (used, used))
    for name in ("tonewords-v7-tiny-0", "my own things"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").write_bytes(b"x" * 1000)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if not p.name.startswith(".")}


def test_the_verb_says_where_and_what_and_up_to_which_size(cache, capsys):
    assert main(["cache"]) == 0
    out = capsys.readouterr().out
    assert str(cache) in out and "floors" in out and "tonewords-v7-tiny-0" in out and "my own things" not in out
    assert "up to 1,024 MB (SONOLEX_FLOORS_MB)" in out and "sonolex cache --clear floors" in out


def test_the_verb_clears_what_is_named_and_nothing_of_the_users(cache, capsys):
    assert main(["cache", "--clear", "floors"]) == 0
    assert names(cache / "floors") == set() and names(cache) == {"floors", "tonewords-v7-tiny-0", "my own things"}
    assert main(["cache", "--clear", "all"]) == 0
    assert names(cache) == {"floors", "my own things"}
    assert main(["cache", "--clear", "my own things"]) == 2
    assert "`clear` must be one of all, floors" in capsys.readouterr().err
    assert (cache / "my own things" / "a.wav").exists()


def test_floors_used_longest_ago_go_first(cache):
    keep_within(cache / "floors", 600)
    assert names(cache / "floors") == {"new.npz", "middle.npz"}
    keep_within(cache / "floors", 0, newest=cache / "floors" / "middle.npz")
    assert names(cache / "floors") == {"middle.npz"}


def test_what_another_process_holds_stays(cache):
    with holding(cache / "floors", "old.npz"):
        keep_within(cache / "floors", 0)
    assert names(cache / "floors") == {"old.npz"}
    with holding(cache, "tonewords-v7-tiny-0"):
        clear("all")
    assert "tonewords-v7-tiny-0" in {k.name for k in contents()}


def test_the_limit_is_a_number_of_megabytes(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SONOLEX_FLOORS_MB", "5")
    assert most_bytes("floors") == 5_000_000 and most_bytes("features") == 1_024_000_000
    monkeypatch.setenv("SONOLEX_FLOORS_MB", "much")
    monkeypatch.setenv("SONOLEX_CACHE", str(tmp_path))
    assert main(["cache"]) == 2
    assert "`SONOLEX_FLOORS_MB` must be a whole number of megabytes, but is 'much'" in capsys.readouterr().err


def test_floors_stay_within_the_limit_when_new_ones_are_computed(corpus, tmp_path, monkeypatch):
    from sonolex.protocols.base import Fold, Protocol
    from sonolex.tasks.classification import ClassificationConfig
    from sonolex.train.floors import floors_of_fold

    monkeypatch.setenv("SONOLEX_CACHE", str(tmp_path))
    monkeypatch.setenv("SONOLEX_FLOORS_MB", "0")
    (tmp_path / "floors").mkdir()
    (tmp_path / "floors" / "older.npz").write_bytes(b"x")
    parts = [corpus.where(split=s) for s in ("train", "validation", "test")]
    task = ClassificationConfig("pitch", label="pitch", classes=("low", "high"))
    protocol = Protocol("limited", "x", lambda manifest: [Fold("one", *parts)], (task,), "accuracy")
    floors_of_fold(protocol, Fold("one", *parts), "a" * 12)
    (kept,) = names(tmp_path / "floors")
    assert kept.startswith("v") and "older" not in kept
