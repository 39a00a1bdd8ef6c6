"""Addresses (``scheme://…``): ``file://`` is a path; others are read only where the user allowed their scheme.

A manifest may come from anybody, so an address in it is no permission to use the network. The environment variable
`REMOTE` gives it: ``SONOLEX_REMOTE=s3`` or ``SONOLEX_REMOTE=s3,gs,hdfs``. pyarrow's filesystems then read the address;
each answer must come within `ANSWER_S`. Azure's (``abfs://``) are never read: without credentials its library ends the
whole process (pyarrow 26).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from sonolex.audio.errors import Where

REMOTE = "SONOLEX_REMOTE"
SCHEMES = ("s3", "gs", "hdfs")
# gs:// without credentials asks the cloud's metadata service for minutes; a clip of 100 MB at 4 MB/s takes 25 s.
ANSWER_S = 30.0
PIECE_BYTES = 8 << 20

T = TypeVar("T")


def local_path(address: str, where: Where) -> str | None:
    """Return the path that a ``file://`` address names; None for another scheme.

    Raises:
        AudioError: a host, a query or a fragment in it.
    """
    try:
        parts = urlsplit(address)
    except ValueError as e:  # brackets that are no IPv6 host
        raise where.error(f"address cannot be read: {e}", "audio", "Correct the address.") from None
    if parts.scheme.lower() != "file":
        return None
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise where.error(
            "a file:// address must name a path on this machine and nothing else, but has a host, '?' or '#'",
            "audio",
            "Write file:///folder/clip.wav, with %3F for ? and %23 for #, or the plain path.",
        )
    return unquote(parts.path)


def remote_bytes(address: str, most_bytes: int, where: Where) -> bytes:
    """Return the file at a remote address.

    Raises:
        AudioError: a scheme that the user did not allow, no answer in time, more than ``most_bytes``.
        OSError, ValueError: pyarrow cannot open or read the address.
    """
    require_allowed(address, where)

    def read() -> bytes:
        filesystem, inner = _filesystem(address)
        pieces, bytes_left = [], most_bytes + 1
        with filesystem.open_input_stream(inner) as stream:
            while bytes_left > 0 and (piece := stream.read(min(bytes_left, PIECE_BYTES))):
                pieces.append(piece)
                bytes_left -= len(piece)
        return b"".join(pieces)

    return answer(read, where)


def open_remote(address: str, where: Where):
    """Return the file at a remote address, open for random reads. Raises as `remote_bytes`."""
    require_allowed(address, where)

    def opened():
        filesystem, inner = _filesystem(address)
        return filesystem.open_input_file(inner)

    return answer(opened, where)


def require_allowed(address: str, where: Where) -> None:
    """Raise AudioError unless the user allowed the scheme of an address."""
    scheme = address.partition("://")[0].lower()
    allowed = {name.strip().lower() for name in os.environ.get(REMOTE, "").split(",")} - {""}
    if unknown := sorted(allowed - set(SCHEMES)):
        raise where.error(
            f"{REMOTE} must name schemes among {', '.join(SCHEMES)}, but has {', '.join(unknown)}",
            "audio",
            f"Correct the environment variable {REMOTE}.",
        )
    if scheme in allowed:
        return
    if scheme in SCHEMES:
        problem = f"{scheme}:// addresses must be allowed before they are read over the network, but are not"
        cure = f"Download the file and name its path, or allow them: {REMOTE}={','.join(sorted({*allowed, scheme}))}."
    else:
        problem = f"an address must begin with file://, or {', '.join(s + '://' for s in SCHEMES)} where allowed"
        problem += f", but begins with {scheme}://"
        cure = "Download the file and name its path."
    raise where.error(problem, "audio", cure)


def answer(ask: Callable[[], T], where: Where) -> T:
    """Return what ``ask`` returns, or raise AudioError after `ANSWER_S` and leave the waiting thread behind."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run, name="sonolex-address", daemon=True)  # never keeps the process alive
    thread.start()
    thread.join(ANSWER_S)
    if errors:
        raise errors[0]
    if not answers:
        raise where.error(
            f"the address must answer within {ANSWER_S:g} s, but did not",
            "audio",
            "Check network and credentials, or download the file.",
        )
    return answers[0]


def _filesystem(address: str):
    from pyarrow import fs

    return fs.FileSystem.from_uri(address)


def is_remote(path: str, where: Where) -> bool:
    """Return whether a path is an address that is not on this machine."""
    return "://" in path and local_path(path, where) is None
