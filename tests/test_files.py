from __future__ import annotations

import json
import resource
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sonolex import files


@contextmanager
def room_for(num_bytes):
    """No file can grow beyond so many bytes: what a full disk does to Python, numpy, Rust and C++ alike."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


WRITERS = {
    "text": lambda path: path.write_text("x" * 99_999),
    "numpy": lambda path: np.savez(path.open("wb"), x=np.zeros(99_999)),
    "safetensors": lambda path: save_file({"x": torch.zeros(99_999)}, path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_line_with_the_file_whoever_writes_it(tmp_path, writer):
    files.write_text(tmp_path / "old", "whole")
    with pytest.raises(files.NotWritten, match=r"old could not be written: .*The same command again goes on"):  # noqa: SIM117
        with room_for(1000), files.atomic_file(tmp_path / "old") as building:
            WRITERS[writer](building)
    with pytest.raises(files.NotWritten, match="model could not be written"):  # noqa: SIM117
        with room_for(1000), files.atomic_folder(tmp_path / "model") as building:
            WRITERS[writer](building / "weights")
    assert [p.name for p in tmp_path.iterdir()] == ["old"] and (tmp_path / "old").read_text() == "whole"


def test_an_error_that_is_not_the_disks_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), files.atomic_file(tmp_path / "x"):
        (tmp_path / "nowhere").read_text()


def test_a_line_is_appended_whole_or_not_at_all(tmp_path):
    path = tmp_path / "journal.jsonl"
    files.append_line(path, "first")
    with pytest.raises(files.NotWritten, match=r"journal\.jsonl could not be written"), room_for(10):
        files.append_line(path, "the second line is too long")
    files.append_line(path, "third")
    assert path.read_text() == "first\nthird\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [("", ""), ("a\n", "a\n"), ("a\nbc", "a\n"), ("abc", ""), ("a\n" + "b" * 50, "a\n"), ("a" * 9 + "\n" * 9, None)],
)
def test_a_line_that_a_killed_process_did_not_finish_is_dropped(tmp_path, text, left):
    (tmp_path / "log").write_text(text)
    files.drop_half_line(tmp_path / "log", block_bytes=4)
    assert (tmp_path / "log").read_text() == (text if left is None else left)
    files.drop_half_line(tmp_path / "absent")


def test_what_older_versions_left_is_recovered_too(tmp_path):
    (tmp_path / ".model.77.old").mkdir()
    (tmp_path / ".model.77.building").mkdir()
    (tmp_path / ".best.77.building").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "step-1.old").mkdir()
    files.recover(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "model", "step-1.old"]
    files.recover(tmp_path / "absent")


def test_who_holds_one_name_leaves_the_others_alone(tmp_path):
    for name in (".building-7.ab-floors-a", ".building-7.ab-a", ".building-7.ab-floors-b"):
        (tmp_path / name).write_text("")
    files.recover(tmp_path, name="floors-a")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".building-7.ab-a", ".building-7.ab-floors-b"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    rename = type(tmp_path).rename

    def refusing(self, target):
        if self.name.startswith(files.BUILDING):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "rename", refusing)
    with pytest.raises(files.NotWritten, match="model could not be written"), files.atomic_folder(tmp_path / "model"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["model"] and (tmp_path / "model" / "old").is_file()


def test_text_that_is_no_utf8_is_named_by_its_line(tmp_path):
    """It was "'utf-8' codec can't decode byte 0xfc in position 9"."""
    (tmp_path / "a.csv").write_bytes("a,b\n1,2\nü,3\n".encode("latin-1"))
    wanted = r"a\.csv must be UTF-8 text, but line 3 holds byte 0xfc \(Latin-1\?\)\. Save it"
    with pytest.raises(ValueError, match=wanted), files.utf8_text(tmp_path / "a.csv") as file:
        file.read()
    (tmp_path / "b.json").write_bytes(b'{\n"a": "\xff"}')
    with pytest.raises(ValueError, match=r"b\.json must hold JSON, but line 2 holds byte 0xff"):
        files.load_json(tmp_path / "b.json")
    (tmp_path / "c.csv").write_bytes(b"\xef\xbb\xbfa\r\nb\n")
    with files.utf8_text(tmp_path / "c.csv") as file:
        assert file.read() == "a\r\nb\n"
