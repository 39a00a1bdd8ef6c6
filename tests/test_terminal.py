"""What is printed cannot steer a terminal, and is printed on any."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

from sonolex.terminal import json_line, say, say_json, visible

UNSEEN = "\x1b\x07\x9b\x7f\r\u202e\u2066\u200b\ufeff\u2028\u2029\U000e0041\udcff\ud800"
HOSTILE = f"\x1b]0;owned\x07\x1b[2J\x9b31m{UNSEEN}"


def ascii_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]


@pytest.mark.parametrize("character", [*map(chr, range(32)), *map(chr, range(127, 160)), *UNSEEN])
def test_no_control_reordering_invisible_or_broken_character_is_left(character):
    shown = visible(f"a{character}b")
    assert shown.isprintable() and shown.startswith("a\\") and shown.endswith("b") and len(shown) >= 4


def test_text_of_any_script_is_left_as_it_is():
    text = "angry wütend 怒り غاضب می‌خواهم 👩‍🎤 [1-5] $10%"
    assert visible(text) == text


def test_only_our_own_line_feeds_and_tabs_stay():
    assert visible("a\tb\nc\r", lines=True) == "a\tb\nc\\r"
    assert visible("a\tb\nc") == "a\\tb\\nc"


def test_a_file_name_that_is_no_text_is_printed_as_its_bytes(capsys):
    say("found", os.fsdecode(b"caf\xe9.wav"))
    assert capsys.readouterr().out == "found caf\\xe9.wav\n"


def test_a_terminal_without_the_characters_gets_their_codes():
    stream = ascii_stream()
    say("0.5 ± 0.1", "怒り", "\x1b[31m", file=stream)
    assert written(stream) == "0.5 \\xb1 0.1 \\u6012\\u308a \\x1b[31m\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_line_of_json_gives_every_character_back_and_shows_none_that_harms(encoding, monkeypatch):
    values = {HOSTILE: [f'{HOSTILE} 怒り ü 👩‍🎤 \\ " \n', 0.5, None]}
    line = json_line(values, encoding=encoding)
    assert json.loads(line) == values and not set(line) & set(UNSEEN)
    line.encode(encoding)
    stream = ascii_stream()
    monkeypatch.setattr(sys, "stdout", stream)
    say_json(values)
    assert json.loads(written(stream)) == values


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_is_an_error(number):
    with pytest.raises(ValueError, match="JSON"):
        json_line({"score": number})
