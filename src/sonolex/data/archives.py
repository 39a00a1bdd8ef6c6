"""Unpack a zip archive from an untrusted source: all of it is checked before any file is written."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from sonolex.files import atomic_file, load_object, recover, save_json
from sonolex.locks import FOLDER as LOCKS

CHUNK_BYTES = 1 << 20
MOST_MEMBERS = 2_000_000
MOST_DIRECTORY_BYTES = 512 << 20  # of the archive's own table of contents, which is read whole
# Speech packs to a half, text to a fifth, digital silence to a thousandth; a larger ratio overall is no accident.
MOST_RATIO = 100
SMALL_BYTES = 1 << 30  # archives that unpack to no more than this may have any ratio
SPARE_BYTES = 100 << 20  # left on the disk


def unpack(archive: Path) -> None:
    """Unpack a zip beside itself, once for every version of it; every file appears whole or not at all.

    After a kill, the same call unpacks again.

    Raises:
        ValueError: no zip, damaged, encrypted; members that would leave the folder, are links, share a name or take
            the archive's; more in it than an honest archive of its size holds.
        OSError: the disk has no room for it.
    """
    done = archive.with_name(f".{archive.name}.unpacked")
    version = {"num_bytes": archive.stat().st_size, "modified_ns": archive.stat().st_mtime_ns}
    try:
        if done.is_file() and load_object(done) == version:
            return
    except ValueError:  # of an older version, or not finished
        pass
    _require_readable_directory(archive)
    try:
        with zipfile.ZipFile(archive) as z:
            targets = _targets(z, archive)
            _require_room(z, archive)
            _write(z, targets)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as e:
        # RuntimeError: a password is needed; NotImplementedError: a packing method that zipfile does not know;
        # "invalid argument" without a file name: the table of contents points before the beginning
        if isinstance(e, OSError) and (e.errno != errno.EINVAL or e.filename is not None):
            raise
        raise ValueError(
            f"{archive.name} must be a whole zip archive, but is not: {e}. Remove it and give the command again."
        ) from None
    os.sync()  # the files first, then the note that records them
    save_json(done, version)


def _require_readable_directory(archive: Path) -> None:
    """Raise ValueError if an archive's table of contents would not fit into memory."""
    with archive.open("rb") as f:
        f.seek(max(0, archive.stat().st_size - 66_000))  # its last record, and a comment of up to 64 KiB
        end = f.read()
    place = end.rfind(b"PK\5\6")
    size = int.from_bytes(end[place + 12 : place + 16], "little") if place >= 0 else 0
    if (long := end.rfind(b"PK\6\6")) >= 0:  # the record of archives above 4 GB
        size = max(size if size != 0xFFFFFFFF else 0, int.from_bytes(end[long + 40 : long + 48], "little"))
    if size > MOST_DIRECTORY_BYTES:
        raise ValueError(
            f"{archive.name} must have a table of contents of at most {MOST_DIRECTORY_BYTES:,} bytes, but has one of "
            f"{size:,}."
        )


def _targets(z: zipfile.ZipFile, archive: Path) -> dict[str, Path]:
    """Return the target of every member by name, after checking all of them."""
    folder = archive.parent.resolve()
    members = z.infolist()
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"{archive.name} must have at most {MOST_MEMBERS:,} members, but has {len(members):,}.")
    reserved = {f"{archive.name}{s}".casefold() for s in ("", ".part", ".part.json")}
    reserved |= {f".{archive.name}.unpacked".casefold()}
    targets: dict[str, Path] = {}
    is_folder: dict[str, bool] = {}
    parents: set[str] = set()
    for member in members:
        path = PurePosixPath(member.filename)
        wrong = _wrong_name(member.filename, path) or _wrong_kind(member)
        target = folder.joinpath(*path.parts) if not wrong else folder
        if not wrong and not target.resolve().is_relative_to(folder):
            wrong = "leads out of the folder through a link"
        key = str(path)
        if not wrong and key.casefold() in reserved:
            wrong = "has a name that belongs to the download"
        if not wrong and key in is_folder and not (is_folder[key] and member.is_dir()):
            wrong = "has the name of another"
        if wrong:
            raise ValueError(f"{archive.name} must hold plain files below its folder, but {member.filename!r} {wrong}.")
        is_folder[key] = member.is_dir()
        parents |= {"/".join(key.split("/")[:n]) for n in range(1, key.count("/") + 1)}
        targets[member.filename] = target
    if both := sorted(k for k, folder_too in is_folder.items() if not folder_too and k in parents):
        raise ValueError(f"{archive.name} must hold plain files below its folder, but {both[0]!r} is a folder as well.")
    return targets


def _wrong_name(name: str, path: PurePosixPath) -> str | None:
    if path.is_absolute() or "\\" in name or name[1:2] == ":" or any(ord(c) < 32 or ord(c) == 127 for c in name):
        return "has no plain relative path"
    if ".." in path.parts or not path.parts:
        return "leads out of the folder, or nowhere"
    if path.parts[0].casefold() == LOCKS:
        return "has a name that belongs to the download"
    if max(len(part.encode("utf-8", "replace")) for part in path.parts) > 255:
        return "has a name of more than 255 bytes"
    return None


def _wrong_kind(member: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where it was packed on Windows
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link" if kind == stat.S_IFLNK else "is a pipe or a device"
    return "is encrypted" if member.flag_bits & 1 else None


def _require_room(z: zipfile.ZipFile, archive: Path) -> None:
    total = sum(member.file_size for member in z.infolist())
    packed = archive.stat().st_size
    if total > SMALL_BYTES and total > MOST_RATIO * packed:
        raise ValueError(
            f"{archive.name} must unpack to at most {MOST_RATIO} times its {packed:,} bytes, but would to {total:,}."
        )
    if total + SPARE_BYTES > (free := shutil.disk_usage(archive.parent).free):
        raise OSError(f"{archive.parent} must have room for {total:,} bytes, but has {free:,} free. Make room.")


def _write(z: zipfile.ZipFile, targets: dict[str, Path]) -> None:
    for folder in {target.parent for target in targets.values()}:
        if folder.is_dir():
            recover(folder)  # what a killed call left; the caller holds the folder's lock
    for member in z.infolist():
        target = targets[member.filename]
        if member.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        if target.is_dir():
            raise ValueError(f"{member.filename!r} must become a file, but {target} is a folder. Move it away.")
        with atomic_file(target, synced=False) as building, z.open(member) as source, building.open("wb") as f:
            shutil.copyfileobj(source, f, CHUNK_BYTES)  # checks the member's own checksum and length
