"""A bar is for a terminal that somebody watches; answers on the standard output never meet it."""

from __future__ import annotations

import io
import sys

import pytest

from sonolex import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def counted(monkeypatch, stream: io.StringIO, *, silent_s: float) -> str:
    """Count three answers, each printed to the standard output, and return what the stream showed."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "SILENT_S", silent_s)
    monkeypatch.setenv("TERM", "xterm")
    with progress.counting("answers", 3) as advance:
        for _ in range(3):
            advance(1)
            sys.stdout.write("{}\n")
    return stream.getvalue()


def test_a_terminal_sees_the_bar_and_the_output_only_answers(monkeypatch, capsys):
    shown = counted(monkeypatch, Terminal(), silent_s=-1)
    assert "answers" in shown and "3/3" in shown and "{}" not in shown
    assert capsys.readouterr().out == "{}\n" * 3


@pytest.mark.parametrize(("stream", "silent_s"), [(io.StringIO(), -1), (Terminal(), 60)])
def test_a_file_or_a_short_wait_sees_nothing(stream, silent_s, monkeypatch, capsys):
    assert counted(monkeypatch, stream, silent_s=silent_s) == ""
    assert capsys.readouterr().out == "{}\n" * 3
