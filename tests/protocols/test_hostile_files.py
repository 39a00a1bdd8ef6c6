"""protocol.json files that are broken or made to harm: one message, nothing imported, nothing read elsewhere."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from sonolex.data.manifest import manifest_from_rows
from sonolex.protocols.base import find_protocol
from tests.protocols.test_base import ROWS

GOOD = {
    "manifest": "m.csv",
    "kind": "classification",
    "task": {"name": "mood", "label": "mood", "classes": ["a", "b"]},
    "modalities": ["text"],
    "disjoint": ["speaker"],
}


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "sent"
    (place / "deep").mkdir(parents=True)
    for name in ("m.csv", "deep/m.csv", "../outside.csv"):
        manifest_from_rows(ROWS).write(place / name)
    return place


def written(folder: Path, **changes: object) -> str:
    (folder / "p.json").write_text(json.dumps(GOOD | changes))
    return str(folder / "p.json")


def test_a_manifest_beside_or_below_the_file_is_read(folder):
    for name in ("m.csv", "deep/m.csv", "./m.csv"):
        protocol = find_protocol(written(folder, manifest=name))
        assert Path(protocol.corpus).resolve() == (folder / name).resolve()


@pytest.mark.parametrize(
    "name",
    ["../outside.csv", "deep/../../outside.csv", "/etc/passwd", "{folder}/m.csv", "gs://b/m.csv", "file:///m.csv",
     "m.csv\0", "\ud800.csv", "link.csv", "linked/outside.csv", "m.txt", "", ".", "deep", "nothing.csv", "pipe.csv",
     "os.path", "sonolex.cli"],
)  # fmt: skip
def test_a_manifest_elsewhere_or_of_another_kind_is_refused(name, folder):
    """It was joined to the folder as it stood: ../.. read any file, and a dotted name any module."""
    (folder / "link.csv").symlink_to(folder.parent / "outside.csv")
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe.csv")
    before = set(sys.modules)
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        find_protocol(written(folder, manifest=name.replace("{folder}", str(folder))))
    assert str(folder) in str(refused.value) and len(str(refused.value).splitlines()) == 1
    assert not set(sys.modules) - before


@pytest.mark.parametrize("field", list(GOOD))
@pytest.mark.parametrize("value", [None, 3, True, "x", [1], {"a": 1}, [], {}, [["speaker"]]])
def test_a_value_of_another_type_is_refused(field, value, folder):
    if (field, value) == ("disjoint", []):
        return
    with pytest.raises((ValueError, FileNotFoundError)):
        find_protocol(written(folder, **{field: value}))


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "[" * 100_000, '{"manifest": NaN}', "\0" * 100, "\xff"])
def test_a_broken_file_is_refused_by_its_name(content, folder):
    (folder / "p.json").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"p\.json"):
        find_protocol(str(folder / "p.json"))


def test_missing_and_unknown_fields_are_reported_at_once(folder):
    (folder / "p.json").write_text(json.dumps({"manifest": "m.csv", "kinds": "x"}))
    with pytest.raises(
        ValueError, match=r"`kinds` is unknown\. Did you mean 'kind'[\s\S]*`kind` is missing[\s\S]*`task` is"
    ):
        find_protocol(str(folder / "p.json"))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "`tasks` must be 1 to 50, but are 0"),
        ([GOOD["task"]], "each of `tasks` must name its `kind`, but one has None"),
        ([{"kind": "classification", **GOOD["task"]}] * 2, "`tasks` must have different names"),
        ([{"kind": "classification", **GOOD["task"], "classes": 3}], "`classes` must be"),
        ([{"kind": "regression", "name": f"t{i}", "label": "mood"} for i in range(51)], "but are 51"),
        ([{"kind": "os.path", "name": "x"}], "`tasks` must be one of"),
        (3, "`tasks` must be"),
    ],
)
def test_several_tasks_that_are_not_valid_are_refused_in_one_line(tasks, message, folder):
    values = {n: v for n, v in GOOD.items() if n not in ("kind", "task")} | {"tasks": tasks}
    (folder / "p.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=re.escape(message)):
        find_protocol(str(folder / "p.json"))
    with pytest.raises(ValueError, match="`kind` is unknown"):
        find_protocol(written(folder, tasks=[]))


def test_several_tasks_are_read_in_their_order(folder):
    both = [{"kind": "regression", "name": "age", "label": "age"}, {"kind": "classification", **GOOD["task"]}]
    values = {n: v for n, v in GOOD.items() if n not in ("kind", "task")} | {"tasks": both}
    (folder / "p.json").write_text(json.dumps(values))
    protocol = find_protocol(str(folder / "p.json"))
    assert [(t.kind, t.name) for t in protocol.tasks] == [("regression", "age"), ("classification", "mood")]
    assert protocol.primary == "mae"


def test_a_kind_outside_the_package_needs_trust(folder, tmp_path, monkeypatch):
    (tmp_path / "harm").mkdir()
    (tmp_path / "harm" / "__init__.py").write_text("")
    (tmp_path / "harm" / "task.py").write_text("from sonolex.tasks.classification import TASK")
    monkeypatch.syspath_prepend(tmp_path)
    for kind in ("harm.task", "os.path", "base", "__init__", "../x"):
        with pytest.raises(ValueError, match=r"p\.json, kind: `tasks` must be one of"):
            find_protocol(written(folder, kind=kind))
    assert "harm" not in sys.modules
    assert find_protocol(written(folder, kind="harm.task"), trust_code=True).tasks[0].name == "mood"
    del sys.modules["harm"], sys.modules["harm.task"]


def test_a_task_that_cannot_be_built_is_refused_with_the_file(folder):
    for task in (
        {"name": "mood", "label": "mood"},
        {"name": "mood", "label": "mood", "classes": ["a", "b"], "hidden": -1},
    ):
        with pytest.raises(ValueError, match=r"p\.json, task: "):
            find_protocol(written(folder, task=task))
