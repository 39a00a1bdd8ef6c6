"""The command line as a user types it, within this process."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path

ACTIVE = re.compile(r"<script|<img src=x|<[^>]*\sonerror\s*=|javascript:", re.IGNORECASE)
PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]*")


class Refused(ValueError):
    """The command ended with exit code 2; the message is what it printed."""


def sonolex(*words: str | Path) -> str:
    """Return what ``sonolex WORDS`` prints, and print it too, so that its control characters are seen.

    Raises:
        Refused: it ends with another exit code than 0.
    """
    from sonolex.cli import main

    printed = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with contextlib.redirect_stdout(printed[0]), contextlib.redirect_stderr(printed[1]):
        try:
            code = main([str(w) for w in words])
        except SystemExit as e:
            code = e.code
    out, error = (p.buffer.getvalue() for p in printed)  # type: ignore[attr-defined]
    os.write(sys.__stdout__.fileno(), out + error)  # type: ignore[union-attr]
    if code:
        raise Refused(error.decode("utf-8", "replace"))
    return out.decode("utf-8")


def check_page(page: Path, notes: Path) -> None:
    """Note markup in a written page that came out of a file unescaped."""
    found = ACTIVE.search(PICTURE.sub("", page.read_text(encoding="utf-8")))
    if found:
        (notes / "raw.txt").write_text(f"{page.name}: {found.group()}")
