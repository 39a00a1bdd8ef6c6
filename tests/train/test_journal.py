from __future__ import annotations

import io
import sys

import pytest
import rich

from sonolex.train import journal


def test_events_come_back_and_a_half_written_line_is_left_out(tmp_path):
    book = journal.Journal(tmp_path)
    book.write("step", step=1, total=2.0)
    book.write("step", step=2, total=1.0)
    with (tmp_path / "journal.jsonl").open("a") as f:
        f.write('{"event": "st')
    assert [(e["event"], e["step"]) for e in journal.read_journal(tmp_path)] == [("step", 1), ("step", 2)]


def test_a_half_written_line_is_not_glued_to_the_next_one(tmp_path):
    journal.Journal(tmp_path).write("step", step=1, total=2.0)
    with (tmp_path / "journal.jsonl").open("a") as f:
        f.write('{"event": "st')
    journal.Journal(tmp_path).write("step", step=2, total=1.0)
    assert (tmp_path / "journal.jsonl").read_text().count("\n") == 2
    assert [e["step"] for e in journal.read_journal(tmp_path)] == [1, 2]


def test_steps_repeated_after_a_resume_count_once_the_last_time(tmp_path):
    book = journal.Journal(tmp_path)
    for step, total in ((1, 9.0), (2, 8.0), (2, 7.0), (3, 6.0)):
        book.write("step", step=step, total=total)
    assert journal.training_curve(tmp_path, "step", "total") == ([1, 2, 3], [9.0, 7.0, 6.0])


def test_other_processes_write_nothing(tmp_path):
    journal.Journal(tmp_path, active=False).write("step", step=1, total=1.0)
    assert not list(tmp_path.iterdir())


def test_tensorboard_reads_the_numbers_of_every_step_and_of_every_start(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    for step, total in ((3, 0.5), (4, 0.25)):
        journal.Journal(tmp_path).write("step", {"total": total}, step=step, clips=4)
    read = accumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("step/total")] == [(3, 0.5), (4, 0.25)]
    assert read.Tags()["scalars"] == ["step/total"]


def test_a_full_disk_raises_where_it_happens_and_not_in_another_thread(tmp_path, monkeypatch):
    book = journal.Journal(tmp_path)
    monkeypatch.setattr("sonolex.train.board.append_bytes", _full)
    with pytest.raises(OSError, match="No space left"):
        book.write("step", step=1, total=0.5)


def _full(path, rest):
    raise OSError(28, "No space left on device", str(path))


def test_where_tensorboard_is_missing_there_is_no_board(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    journal.Journal(tmp_path).write("step", step=1, total=0.5)
    assert [p.name for p in tmp_path.iterdir()] == ["journal.jsonl"]


def test_the_bar_counts_steps_from_where_a_run_goes_on():
    shown = io.StringIO()
    rich.reconfigure(file=shown, force_terminal=True, width=160)
    try:
        state = {"step": 5, "epoch": 1, "best": 0.75, "value": 0.5}
        with journal.progress_bar("run", 10, num_epochs=3, done=4, quiet=True) as advance:
            advance(state, 0.25)
        assert not shown.getvalue()
        with journal.progress_bar("run", 10, num_epochs=3, done=4, quiet=False) as advance:
            advance(state | {"value": None}, 0.5)
            advance(state, 0.25)
        last = shown.getvalue().split("run ")[-1]
        assert "\x1b[2K" not in last  # left behind, not erased
        assert "5/10" in last and "epoch 2 of 3" in last and "loss 0.250" in last
        assert "validation 0.500 (best 0.750)" in last
    finally:
        rich.reconfigure()


@pytest.mark.parametrize("name", ["[red]run[/red]", "[/]", "[bold", "a\x1b]0;x\x07b", ":smile: {task.id}"])
def test_a_bar_shows_a_hostile_name_as_it_is(name, monkeypatch):
    from rich.console import Console

    from sonolex.terminal import visible

    drawn = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    monkeypatch.setattr("rich.progress.get_console", lambda: drawn)
    with journal.progress_bar(name, 3, num_epochs=1, done=0, quiet=False) as advance:
        advance({"step": 1, "epoch": 0, "best": None}, 0.5)
    text = drawn.file.getvalue()
    assert visible(name) in text and "\x1b]0;" not in text
