from __future__ import annotations

import json

import pytest

from sonolex import files


def test_a_failed_write_leaves_the_old_folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    with pytest.raises(RuntimeError, match="power cut"), files.atomic_folder(tmp_path / "model") as building:
        (building / "new").write_text("half")
        raise RuntimeError("power cut")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "old").is_file()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    files.save_json(tmp_path / "results.json", {"a": 1})
    with pytest.raises(RuntimeError, match="power cut"), files.atomic_file(tmp_path / "results.json") as building:
        building.write_text("half")
        raise RuntimeError("power cut")
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    assert files.load_object(tmp_path / "results.json") == {"a": 1}


def test_a_folder_killed_while_it_was_replaced_gets_its_name_back(tmp_path):
    (tmp_path / ".replaced-77-model").mkdir()
    (tmp_path / ".building-77-model").mkdir()
    (tmp_path / ".building-77-results.json").write_text("{")
    files.recover(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_replaced_folder_goes_once_the_new_one_is_there(tmp_path):
    (tmp_path / ".replaced-77-model").mkdir()
    (tmp_path / "model").mkdir()
    files.recover(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\xff"])
def test_what_is_no_json_is_one_error_with_the_file(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"config\.json must hold JSON"):
        files.load_json(tmp_path / "config.json")


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(["x" * 100]))
    with pytest.raises(ValueError, match="at most 50 bytes"):
        files.load_json(tmp_path / "config.json", most_bytes=50)


def test_a_list_is_no_object(tmp_path):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold an object, but holds list"):
        files.load_object(tmp_path / "config.json")
