"""Text for a terminal or a page of Markdown: nothing in files and file names can steer it.

A label, a path or a message may hold escape sequences that clear the screen, rename the window or type for the user,
characters that reorder a line, or bytes that are no text. Standard library only, so that every layer may use it.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import IO, Any

JOINERS = (
    "\u200c\u200d"  # shape letters of Persian and Indic scripts and emoji; every other invisible character is shown
)
MARKDOWN = "\\`|<>[]*$"  # what begins code, cells, tags, links, emphasis and formulas
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, formatting (bidirectional too), lone surrogates, line separators


def visible(text: object, *, lines: bool = False) -> str:
    r"""Return text with control and invisible characters escaped as Python writes them.

    A byte of a file name that cannot be decoded is written as the byte. With ``lines``, line feeds and tabs stay.

    >>> import os
    >>> visible("a\x1b[31m\n"), visible("a\nb", lines=True), visible(os.fsdecode(b"caf\xe9.wav"))
    ('a\\x1b[31m\\n', 'a\nb', 'caf\\xe9.wav')
    """
    whole = str(text)
    if whole.isascii() and whole.isprintable():
        return whole
    return "".join(c if lines and c in "\n\t" else _written_out(c) if _is_unseen(c) else c for c in whole)


def markdown(text: object) -> str:
    r"""Return text that a page of Markdown shows as it is: on one line, in a cell of a table too.

    >>> markdown("$10%-$20% | <b> `x` ![](http://a)")
    '\\$10%-\\$20% \\| \\<b\\> \\`x\\` !\\[\\](http://a)'
    """
    return "".join(f"\\{c}" if c in MARKDOWN else c for c in visible(text))


def say(*texts: object, sep: str = " ", end: str = "\n", file: IO[str] | None = None) -> None:
    """Print texts, made `visible`, and escaped where the stream's encoding lacks a character. Line feeds stay."""
    stream = sys.stdout if file is None else file
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = visible(sep.join(map(str, texts)), lines=True)
    print(text.encode(encoding, "backslashreplace").decode(encoding), end=end, file=stream)


def json_line(values: Any, *, encoding: str = "utf-8") -> str:
    r"""Return values as one line of JSON that any program can read and any terminal of that encoding can show.

    Control and invisible characters and lone surrogates are written as JSON escapes, which readers decode.

    >>> json_line({"input": "a\u202eb\udcff", "score": 0.5})
    '{"input": "a\\u202eb\\udcff", "score": 0.5}'

    Raises:
        ValueError: a number that JSON does not have (NaN, infinity).
    """
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    if text.isascii() and text.isprintable():
        return text
    # Outside its strings, JSON is plain ASCII.
    return "".join(_json_escape(c) if _is_unseen(c) or not _has(encoding, c) else c for c in text)


def say_json(values: Any) -> None:
    """Print values as a `json_line` of the terminal's encoding."""
    print(json_line(values, encoding=getattr(sys.stdout, "encoding", None) or "utf-8"))


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in UNSEEN and character not in JOINERS


def _written_out(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that os.fsdecode could not decode
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
