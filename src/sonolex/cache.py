"""The cache: generated corpora, and computed floors and features of clips. All of it can be made again.

It lies where `sonolex.configs.cache_folder` says. Floors and features are kept up to a size each (`most_bytes`);
beyond it, the least recently used are removed. Generated corpora stay until `sonolex cache --clear` removes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sonolex.configs import cache_folder
from sonolex.files import remove_folder
from sonolex.locks import holding

FLOORS, FEATURES = "floors", "features"
CORPORA = ("tonewords-v", "sound-scenes-v", "espeak-digits-v", "espeak-words-v")  # how their folders begin
LIMIT_SET_BY = {FLOORS: "SONOLEX_FLOORS_MB", FEATURES: "SONOLEX_FEATURES_MB"}
MOST_MB = 1024  # scores of 500 floors of 100,000 clips and 5 classes; features of about 700,000 clips


@dataclass(frozen=True)
class Kept:
    """One thing in the cache: the floors, the features, or a generated corpus."""

    name: str
    folder: Path
    num_files: int
    num_bytes: int


def most_bytes(name: str) -> int:
    """Return how many bytes of floors or features are kept: $SONOLEX_FLOORS_MB or _FEATURES_MB (MB), or 1,024 MB.

    Raises:
        ValueError: the variable is no number of megabytes.
    """
    variable = LIMIT_SET_BY[name]
    setting = os.environ.get(variable, str(MOST_MB))
    if not setting.isdecimal():
        raise ValueError(f"`{variable}` must be a whole number of megabytes, but is {setting!r}.")
    return int(setting) * 1_000_000


def contents() -> list[Kept]:
    """Return the entries of the cache. Other files in its folder are ignored."""
    place = cache_folder()
    names = [p.name for p in sorted(place.iterdir()) if p.is_dir()] if place.is_dir() else []
    return [_kept(place / name) for name in names if name in LIMIT_SET_BY or name.startswith(CORPORA)]


def clear(name: str) -> list[Kept]:
    """Remove ``name`` ("floors", "features", a corpus, or "all") from the cache, and return what was removed.

    Whatever another process is writing or reading stays.

    Raises:
        ValueError: nothing has this name.
    """
    here = contents()
    chosen = here if name == "all" else [k for k in here if k.name == name]
    if not chosen and name not in ("all", *LIMIT_SET_BY):
        known = ", ".join(["all", *LIMIT_SET_BY, *(k.name for k in here if k.name not in LIMIT_SET_BY)])
        raise ValueError(f"`clear` must be one of {known}, but is {name!r}.")
    for kept in chosen:
        if kept.name in LIMIT_SET_BY:
            keep_within(kept.folder, 0)
        else:
            with holding(cache_folder(), kept.name, wait=False) as free:
                if free:
                    remove_folder(kept.folder)
    return chosen


def note_use(path: Path) -> None:
    """Mark a cached file as used now."""
    with suppress(OSError):
        os.utime(path)


def keep_within(folder: Path, most_bytes: int, *, newest: Path | None = None) -> None:
    """Remove the least recently used files of a folder until the rest has at most ``most_bytes``.

    A file that another process holds (its lock has the file's name) stays, and so does ``newest``.
    """
    files = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # another process may do the same
            if path.is_file() and not path.name.startswith("."):
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    total_bytes = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total_bytes <= most_bytes:
            return
        if path == newest:
            continue
        with holding(folder, path.name, wait=False) as free:
            if free:
                path.unlink(missing_ok=True)
                total_bytes -= size


def cache_lines() -> list[str]:
    """Return lines that describe the cache: its place, content and limits."""
    here = contents()
    lines = [f"cache: {cache_folder()} (set SONOLEX_CACHE to have it elsewhere)"]
    width = max((len(k.name) for k in here), default=0)
    lines += [f"  {k.name:{width}}  {k.num_bytes / 1e6:9.1f} MB  {k.num_files:6,} files" for k in here]
    lines += ["  nothing yet"] * (not here)
    limits = [f"{name} are kept up to {most_bytes(name) / 1e6:,.0f} MB ({v})" for name, v in LIMIT_SET_BY.items()]
    lines.append(f"{', '.join(limits)}, the ones used last; generated corpora until they are cleared")
    return [*lines, "clear with: sonolex cache --clear floors (or a corpus by its name here, or all)"]


def _kept(folder: Path) -> Kept:
    sizes = list(_sizes(folder))
    return Kept(folder.name, folder, len(sizes), sum(sizes))


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and ".locks" not in path.parts:
                yield path.stat().st_size
