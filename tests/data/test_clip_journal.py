"""A journal of clips survives a kill at any byte and has one writer."""

from __future__ import annotations

import pytest

from sonolex.data.clip_journal import ClipJournal
from sonolex.locks import Held


def test_a_kill_at_any_byte_loses_at_most_the_last_clip(tmp_path):
    out = tmp_path / "out.csv"
    whole = ClipJournal(out, "us")
    for number in range(3):
        whole.add(f"clip-{number}", "words\u2028of it")
    path = tmp_path / "out.csv.partial.jsonl"
    written = path.read_bytes()
    del whole
    for end in range(len(written) + 1):
        path.write_bytes(written[:end])
        journal = ClipJournal(out, "us")
        assert len(journal.found) == written[:end].count(b"\n")
        journal.add("next", "more")
        del journal
        again = ClipJournal(out, "us")
        assert again.found["next"] == "more" and len(again.found) == written[:end].count(b"\n") + 1
        again.close()
        assert not path.exists()


def test_two_processes_do_not_write_one_output(tmp_path):
    first = ClipJournal(tmp_path / "out.csv", "us")
    with pytest.raises(Held, match=r"out\.csv must be free"):
        ClipJournal(tmp_path / "out.csv", "us")
    first.close()
    ClipJournal(tmp_path / "out.csv", "us").close()


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "a"}', "7"])
def test_a_malformed_journal_is_a_one_line_error(tmp_path, line):
    (tmp_path / "out.csv.partial.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"out\.csv\.partial\.jsonl must be a journal of clips"):
        ClipJournal(tmp_path / "out.csv", "us")
