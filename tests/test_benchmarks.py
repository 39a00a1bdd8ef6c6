"""Every benchmark can be started; one that fails does not hide the others."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType

import pytest
from benchmarks import __main__ as benchmarks

NAMES = benchmarks.benchmark_names()


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_can_be_started(name):
    """Seen before: `make bench` ended at `benchmarks.speakers`, which had no `run`."""
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.run)
    parameters = inspect.signature(module.run).parameters.values()
    assert all(p.default is not p.empty for p in parameters) and len(parameters) <= 1
    if getattr(module, "ONLY_WHEN_NAMED", False):
        assert benchmarks.how_to_start(module), "its description must have a line that starts it"


def test_a_benchmark_that_fails_does_not_hide_the_others_and_those_left_out_are_named(monkeypatch, capsys):
    ran = []

    def stand_in(name: str, run, **attributes):
        module = ModuleType(f"benchmarks.{name}", f"Title of {name}.\n\n    python -m benchmarks {name} --runs R\n")
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
        module.__dict__.update(run=run, **attributes)

    stand_in("broken", lambda: 1 / 0)
    stand_in("fine", lambda: ran.append("fine"))
    stand_in("refusing", lambda: sys.exit("no corpus"))
    stand_in("long", lambda options=(): ran.append("long"), ONLY_WHEN_NAMED=True)
    monkeypatch.setattr(benchmarks, "benchmark_names", lambda: ["broken", "fine", "long", "refusing"])
    assert benchmarks.main([]) == 1
    text = capsys.readouterr().out
    assert "ZeroDivisionError" in text and "no corpus" in text and "FAILED: broken, refusing" in text
    assert "only when named:\n  python -m benchmarks long --runs R" in text and ran == ["fine"]
    assert benchmarks.main(["fine"]) == 0 and "left out" not in capsys.readouterr().out
    assert benchmarks.main(["long", "--runs", "R"]) == 0 and ran == ["fine", "fine", "long"]
    with pytest.raises(SystemExit, match="fine has no options, but got --runs"):
        benchmarks.main(["fine", "--runs", "R"])
    with pytest.raises(SystemExit, match="must be some of broken, fine, long, refusing, but got no-such"):
        benchmarks.main(["no-such"])


@pytest.mark.parametrize("name", ["collapse", "neighbours", "speakers"])
def test_benchmarks_of_finished_runs_ask_for_their_folders(name, tmp_path, capsys):
    assert benchmarks.main([name]) == 1
    assert f"python -m benchmarks {name} --runs" in capsys.readouterr().err
    assert benchmarks.main([name, "--runs", str(tmp_path / "none")]) == 1
    assert "must name folders of runs, but" in capsys.readouterr().err
