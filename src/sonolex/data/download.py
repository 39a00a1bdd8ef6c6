"""Download a corpus's release, resumably and checked, from its own address or a mirror. Only when the user asks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from sonolex.configs import find_module, module_names
from sonolex.data.archives import unpack
from sonolex.data.transfer import Expected, Progress, fetch, require_http, text_at
from sonolex.locks import only_here

ZENODO_FILE = re.compile(r"(https?://[^/]+)/records?/(\d+)/files/")
MD5 = re.compile(r"[0-9a-fA-F]{32}")


def download_corpus(
    corpus: str,
    folder: str | Path,
    *,
    mirror: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch and unpack the files of a corpus that names its ``DOWNLOADS``; return the folder.

    Complete files are not fetched again; a broken transfer continues where it stopped.

    Args:
        mirror: address of a folder with the same file names, and optionally ``md5sums.txt``.
        progress: called with file name, bytes so far and bytes in all (0 if unknown).

    Raises:
        ValueError: a corpus that cannot be downloaded; a file that fails its checks.
        OSError: the address cannot be reached; the disk is full; another process downloads to the folder.
    """
    addresses: Sequence[str] = getattr(find_module("data.corpora", corpus, trust_code=True), "DOWNLOADS", ())
    if not addresses:
        known = [n for n in module_names("data.corpora") if getattr(find_module("data.corpora", n), "DOWNLOADS", ())]
        raise ValueError(
            f"`corpus` must be one that may be downloaded ({', '.join(known)}), but is {corpus!r}. Its licence or host "
            "requires you to fetch it yourself; its module names the source."
        )
    if mirror is not None:
        require_http("mirror", mirror)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with only_here(folder, "download", "downloads"):
        expected = _expected(addresses, mirror)
        for address in addresses:
            name = address.rsplit("/", 1)[1]
            place = f"{mirror.rstrip('/')}/{name}" if mirror else address
            fetch(place, folder / name, expected.get(name), progress)
            if name.endswith(".zip"):
                unpack(folder / name)
    return folder


def _expected(addresses: Sequence[str], mirror: str | None) -> dict[str, Expected]:
    """Return checksums by file name: those of the mirror's md5sums.txt, or of the Zenodo record; {} if there are none.

    Raises:
        OSError: the address cannot be reached.
        ValueError: the answer holds no checksums.
    """
    if mirror:
        place = f"{mirror.rstrip('/')}/md5sums.txt"
        return {name: Expected(md5) for name, md5 in _md5_lines(place, text_at(place) or "")}
    expected: dict[str, Expected] = {}
    for host, record in sorted({m.groups() for a in addresses if (m := ZENODO_FILE.match(a))}):
        place = f"{host}/api/records/{record}"
        try:
            for file in json.loads(text_at(place) or "")["files"]:
                md5, size = str(file["checksum"]).removeprefix("md5:"), file.get("size")
                expected[str(file["key"])] = Expected(
                    md5 if MD5.fullmatch(md5) else None, size if isinstance(size, int) else None
                )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{place} must list the files of a record, but does not. Try a mirror.") from None
    return expected


def _md5_lines(place: str, text: str) -> list[tuple[str, str]]:
    """Return file names and sums from the output of md5sum."""
    sums = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            md5, _, name = line.strip().partition(" ")
            if not MD5.fullmatch(md5) or not name.strip():
                raise ValueError(f"{place}, line {number}, must be an MD5 sum and a file name, but is {line[:60]!r}.")
            sums.append((name.strip().lstrip("*"), md5.lower()))
    return sums
