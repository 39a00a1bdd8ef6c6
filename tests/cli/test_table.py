"""`sonolex table`: several processes fill one table, and it is printed and written."""

from __future__ import annotations

import pytest

from sonolex.cli import main
from sonolex.train.series import helpers


def test_two_processes_fill_a_table(tmp_path, shared_data, monkeypatch, capsys):
    monkeypatch.setenv("SONOLEX_DATA", str(shared_data))
    out = tmp_path / "table"
    words = ["table", "ctal_fsdd_verification", "--tiny", "--processes", "2", "--out", str(out), "--quiet"]
    row = "CTAL-tiny, from scratch, level kept"
    assert main([*words, "--against", "floor: mfcc_cosine"]) == 0
    printed = capsys.readouterr().out
    assert row in printed and "million parameters" in printed and "minus that of 'floor: mfcc_cosine'" in printed
    assert f"| {row} |" in (out / "table.md").read_text()


def test_a_process_that_fails_says_why():
    said = pytest.raises(ValueError, match=r"a process of train no_such_recipe failed: .*no_such_recipe")
    with said, helpers(["train", "no_such_recipe"], 1):
        pass
