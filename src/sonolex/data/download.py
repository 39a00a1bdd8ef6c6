"""Download a corpus's release, resumably and checked, from its own address or a mirror. Only when the user asks."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from sonolex.configs import find_module, module_names

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60
ZENODO_FILE = re.compile(r"(https?://[^/]+)/records?/(\d+)/files/")


def download_corpus(
    corpus: str,
    folder: str | Path,
    *,
    mirror: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Fetch and unpack the files of a corpus that names its ``DOWNLOADS``; return the folder.

    What is complete is not fetched again; a broken transfer goes on where it stopped.

    Args:
        mirror: address of a folder with the same file names, and optionally ``md5sums.txt``.
        progress: called with file name, bytes so far and bytes in all (0 if unknown).

    Raises:
        ValueError: a corpus that cannot be downloaded; a checksum that differs.
        OSError: the address cannot be reached.
    """
    addresses: Sequence[str] = getattr(find_module("data.corpora", corpus, trust_code=True), "DOWNLOADS", ())
    if not addresses:
        known = [n for n in module_names("data.corpora") if getattr(find_module("data.corpora", n), "DOWNLOADS", ())]
        raise ValueError(
            f"`corpus` must be one that may be downloaded ({', '.join(known)}), but is {corpus!r}. Its licence or host "
            "wants you to fetch it yourself; its module says from where."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    checksums = _checksums(addresses, mirror)
    for address in addresses:
        name = address.rsplit("/", 1)[1]
        fetch(f"{mirror.rstrip('/')}/{name}" if mirror else address, folder / name, checksums.get(name), progress)
        if name.endswith(".zip"):
            _unpack(folder / name)
    return folder


def fetch(
    address: str, file: Path, md5: str | None = None, progress: Callable[[str, int, int], None] | None = None
) -> None:
    """Download one file, going on from ``FILE.part``; check it, and only then give it its name.

    Raises:
        ValueError: the checksum differs; the part is removed, so that the next call starts again.
        OSError: the address cannot be reached.
    """
    if file.is_file() and (md5 is None or _md5(file) == md5):
        return
    part = file.with_name(f"{file.name}.part")
    done = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            resumed = answer.status == 206
            done = done if resumed else 0
            total = done + int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if resumed else "wb") as f:
                while piece := answer.read(CHUNK_BYTES):
                    f.write(piece)
                    done += len(piece)
                    if progress:
                        progress(file.name, done, total)
        if total and done < total:
            raise OSError(f"{address} ended after {done} of {total} bytes. Give the same command again to go on.")
    except urllib.error.HTTPError as e:
        if e.code != 416:  # the part is already whole
            raise OSError(f"{address} cannot be had: {e}.") from e
    found = _md5(part) if md5 else None
    if found != md5:
        part.unlink()
        raise ValueError(f"{file.name} must have MD5 {md5}, but has {found}. It was removed: give the command again.")
    part.replace(file)


def _checksums(addresses: Sequence[str], mirror: str | None) -> dict[str, str]:
    """Return MD5 sums by file name: the mirror's md5sums.txt, or those of the Zenodo record; {} if there are none."""
    if mirror:
        try:
            with urllib.request.urlopen(f"{mirror.rstrip('/')}/md5sums.txt", timeout=TIMEOUT_S) as answer:
                lines = answer.read().decode("utf-8").splitlines()
        except urllib.error.HTTPError:
            return {}
        return {name.lstrip("*"): md5 for md5, name in (line.split(maxsplit=1) for line in lines if line.strip())}
    sums: dict[str, str] = {}
    for host, record in sorted({m.groups() for a in addresses if (m := ZENODO_FILE.match(a))}):
        with urllib.request.urlopen(f"{host}/api/records/{record}", timeout=TIMEOUT_S) as answer:
            files = json.load(answer)["files"]
        sums |= {f["key"]: f["checksum"].removeprefix("md5:") for f in files if f["checksum"].startswith("md5:")}
    return sums


def _unpack(archive: Path) -> None:
    """Unpack a zip beside itself once; members that would leave the folder are refused."""
    marker = archive.with_name(f".{archive.name}.unpacked")
    if marker.is_file() and marker.stat().st_mtime >= archive.stat().st_mtime:
        return
    folder = archive.parent.resolve()
    with zipfile.ZipFile(archive) as z:
        for member in z.infolist():
            target = (folder / member.filename).resolve()
            if not target.is_relative_to(folder):
                raise ValueError(f"{archive.name} must hold files below its folder, but has {member.filename!r}.")
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with z.open(member) as source, target.open("wb") as f:
                shutil.copyfileobj(source, f, CHUNK_BYTES)
    marker.touch()


def _md5(file: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as f:
        while piece := f.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()
