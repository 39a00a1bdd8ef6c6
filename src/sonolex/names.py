"""Safe names of files and modules for any text: ordinary names stay as they are, others are escaped.

A task is named by a column of the user's table, and its name is part of file names and of parameter names. Standard
library only, so that every layer may use it.
"""

from __future__ import annotations

import hashlib
import re

MOST_NAME_CHARACTERS = 1000
MOST_BYTES = 120  # of 255 that file systems allow: a name is only a part of a file's
AWKWARD = re.compile(r"[^\w \-+,=@~]|^ | $|[\ud800-\udfff]")  # also "/", ".", "%" and what a shell would expand


def spelled(name: str) -> str:
    """Return a name that is safe as a file's or a module's, different for different names, without any ".".

    Awkward characters are percent-encoded; a long name is cut and ends in a digest of the whole.

    >>> spelled("mood"), spelled("a/b"), spelled("v1.0"), spelled(""), spelled("50 %")
    ('mood', 'a%2Fb', 'v1%2E0', '%', '50 %25')
    """
    if not name:
        return "%"
    whole = AWKWARD.sub(_as_bytes, name)
    if len(whole.encode()) <= MOST_BYTES:
        return whole
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    beginning = whole.encode()[: MOST_BYTES - len(digest) - 2].decode(errors="ignore")
    return f"{beginning}%-{digest}"  # no name is spelled with "%-" otherwise


def require_name(field: str, name: object) -> None:
    """Raise ValueError unless a task, a label or a row may be called ``name``."""
    if not isinstance(name, str) or not name or len(name) > MOST_NAME_CHARACTERS or not _is_one_line(name):
        shown = repr(name) if len(repr(name)) <= 60 else f"{repr(name)[:60]}…"
        raise ValueError(
            f"`{field}` must be text of 1 to {MOST_NAME_CHARACTERS} characters without line breaks and controls, but "
            f"is {shown}."
        )


def _as_bytes(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def _is_one_line(name: str) -> bool:
    return not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", name)
