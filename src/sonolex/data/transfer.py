"""Fetch one file over HTTP: resumed only when it is still the same file, and named only when it is whole.

An interrupted transfer leaves ``FILE.part``; ``FILE.part.json`` names the file it is part of: address, ETag or date,
size. It is resumed only if the server confirms that the file is still the same (RFC 9110, ``If-Range`` and
``Content-Range``), or if a checksum will show it.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sonolex.files import load_object, save_json, writing

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60
MOST_TEXT_BYTES = 16 << 20  # of a list of checksums
SPARE_BYTES = 100 << 20  # left on the disk by a download
GO_ON = "Give the same command again to go on."

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it is fetched."""

    md5: str | None = None
    num_bytes: int | None = None


def fetch(address: str, file: Path, expected: Expected | None = None, progress: Progress | None = None) -> None:
    """Download one file, resuming from ``FILE.part``; check it, and only then give it its name.

    Raises:
        ValueError: it is not what was expected; the part is removed, so that the next call starts again.
        OSError: the address cannot be reached, answers with another file or ends early.
    """
    expected = expected or Expected()
    if file.is_file() and _problem(file, expected) is None:
        return
    part, note = _part_of(file)
    if not _transfer(address, part, note, expected, progress):  # the part belongs to another file
        _forget(part, note)
        if not _transfer(address, part, note, expected, progress):
            raise OSError(f"{address} must be sent from its beginning, but is not. Try a mirror.")
    if problem := _problem(part, expected) or _unlike_its_name(part, file.name):
        _forget(part, note)
        raise ValueError(f"{file.name} must be {problem}. It was removed: give the command again, or try a mirror.")
    part.replace(file)
    note.unlink(missing_ok=True)


def text_at(address: str) -> str | None:
    """Return a small text at an address; None if the server has none.

    Raises:
        OSError: the address cannot be reached.
        ValueError: it is large, or no text.
    """
    try:
        with _request(address, {}) as answer:
            content = answer.read(MOST_TEXT_BYTES + 1)
    except urllib.error.HTTPError as e:
        if e.code in (404, 410):
            return None
        raise OSError(f"{address} cannot be fetched: {e}.") from None
    except (OSError, http.client.HTTPException, OverflowError) as e:
        raise OSError(f"{address} cannot be fetched: {e}.") from None
    if len(content) > MOST_TEXT_BYTES:
        raise ValueError(f"{address} must have at most {MOST_TEXT_BYTES:,} bytes, but has more.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{address} must be text, but is not.") from None


def require_http(name: str, address: str) -> None:
    """Raise ValueError unless an address begins with http:// or https://."""
    if not re.match(r"https?://[^/]", address):
        raise ValueError(f"`{name}` must begin with http:// or https://, but is {address!r}.")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https only, and never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        secure = req.full_url.lower().startswith("https://")
        if not newurl.lower().startswith(("https://",) if secure else ("https://", "http://")):
            raise OSError(f"{req.full_url} redirects to {newurl}, which is not followed. Try a mirror.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _request(address: str, headers: dict[str, str]):
    require_http("address", address)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    answer = opener.open(urllib.request.Request(address, headers=headers), timeout=TIMEOUT_S)
    if answer is None:  # no handler for what a proxy variable names
        raise OSError(f"{address} cannot be fetched: no handler is known for it.")
    return answer


def _part_of(file: Path) -> tuple[Path, Path]:
    return file.with_name(f"{file.name}.part"), file.with_name(f"{file.name}.part.json")


def _forget(part: Path, note: Path) -> None:
    part.unlink(missing_ok=True)
    note.unlink(missing_ok=True)


def _transfer(address: str, part: Path, note: Path, expected: Expected, progress: Progress | None) -> bool:
    """Append what is missing of a part; return False if the part is of no use for this address."""
    known = _known(note, address)
    done = part.stat().st_size if part.is_file() else 0
    validator = known.get("validator")
    if done and not (validator or expected.md5):
        done = 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    if done and validator:
        headers["If-Range"] = validator
    try:
        with _request(address, headers) as answer:
            resumed = answer.status == 206
            if resumed and not done:  # a piece that was not requested
                return False
            done = done if resumed else 0
            total = _total(answer, done, resumed)
            if resumed and (total is None or known.get("num_bytes") not in (None, total)):
                return False
            _require_usable(answer, address, total, done, expected, part)
            save_json(note, {"address": address, "validator": _validator(answer), "num_bytes": total})
            received = _receive(answer, part, done, total, address, progress)
    except urllib.error.HTTPError as e:
        if e.code == 416 and done:  # the part may be the whole file: its length or checksum decides
            content_range = re.fullmatch(r"bytes \*/(\d+)", e.headers.get("Content-Range", ""))
            return int(content_range[1]) == done if content_range else expected.md5 is not None
        raise OSError(f"{address} cannot be fetched: {e}.") from None
    except urllib.error.URLError as e:
        raise OSError(f"{address} cannot be fetched: {e.reason}. {GO_ON}") from None
    except (http.client.HTTPException, OverflowError) as e:  # cut off, no HTTP, or a length beyond 64 bits
        raise OSError(f"{address} cannot be fetched: {e!r:.200}. {GO_ON}") from None
    if total is not None and received != total:
        raise OSError(f"{address} ended after {received:,} of {total:,} bytes. {GO_ON}")
    return True


def _known(note: Path, address: str) -> dict:
    """Return the note about a part of the file at this address; {} if it is about another file, or missing."""
    try:
        record = load_object(note)
    except (OSError, ValueError):
        return {}
    return record if record.get("address") == address and isinstance(record.get("validator"), str | None) else {}


def _validator(answer) -> str | None:
    """Return the mark of this version of a file: a strong ETag, or the date of its last change."""
    tag = answer.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _total(answer, done: int, resumed: bool) -> int | None:
    """Return the length of the whole file; None if the server does not give it, or sends another piece."""
    length = answer.headers.get("Content-Length", "")
    if not resumed:
        return int(length) if length.isdecimal() else None
    content_range = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    if content_range:
        first, last, total = (int(n) for n in content_range.groups())
        return total if first == done and last == total - 1 else None
    return None


def _require_usable(answer, address: str, total: int | None, done: int, expected: Expected, part: Path) -> None:
    """Raise OSError if the answer cannot be the file, cannot be known to be whole, or does not fit on the disk."""
    if (coding := answer.headers.get("Content-Encoding", "identity")) != "identity":
        raise OSError(f"{address} must be sent as it is, but is sent as {coding}. Try a mirror.")
    if answer.status not in (200, 206):
        raise OSError(f"{address} must be answered with 200, but is with {answer.status}. Try a mirror.")
    chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    if total is None and not chunked and not expected.md5 and expected.num_bytes is None:
        raise OSError(
            f"{address} must be sent with its length, but is not: nobody could tell whether it is whole. Try a mirror."
        )
    if total is not None and expected.num_bytes not in (None, total):
        raise OSError(f"{address} must have {expected.num_bytes:,} bytes, but has {total:,}. Try a mirror.")
    needed = (total or expected.num_bytes or 0) - done
    if needed + SPARE_BYTES > (free := shutil.disk_usage(part.parent).free):
        raise OSError(f"{part.parent} must have room for {needed:,} bytes, but has {free:,} free. Make room.")


def _receive(answer, part: Path, done: int, total: int | None, address: str, progress: Progress | None) -> int:
    """Append the server's answer to a part; return the part's new length."""
    with part.open("r+b" if done else "wb") as f:
        f.seek(done)
        while True:
            try:
                piece = answer.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as e:
                raise OSError(f"{address} ended after {done:,} of {total or 'unknown'} bytes: {e}. {GO_ON}") from None
            if not piece:
                return done
            with writing(part):
                f.write(piece)
                f.flush()
            done += len(piece)
            if progress:
                progress(part.name.removesuffix(".part"), done, total or 0)


def _problem(file: Path, expected: Expected) -> str | None:
    """Return how a file differs from what was expected; None if it does not."""
    if expected.num_bytes is not None and file.stat().st_size != expected.num_bytes:
        return f"{expected.num_bytes:,} bytes long, but has {file.stat().st_size:,}"
    if expected.md5 is not None and (md5 := md5_of(file)) != expected.md5.lower():
        return f"of MD5 {expected.md5}, but has {md5}"
    return None


def _unlike_its_name(file: Path, name: str) -> str | None:
    """Return how a file contradicts its name, None if it does not: servers send error pages under any name."""
    with file.open("rb") as f:
        begins = f.read(512)
    if not begins:
        return "a file with content, but is empty"
    if name.endswith(".zip") and begins[:4] not in (b"PK\3\4", b"PK\5\6"):
        return f"a zip archive, but begins with {begins[:40]!r}"
    if not name.endswith((".html", ".htm")) and begins.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a file, but is a web page"
    return None


def md5_of(file: Path) -> str:
    """Return a file's MD5 sum in hexadecimal."""
    with file.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
