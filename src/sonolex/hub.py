"""A local folder, or a download of a hub id: the one place that may touch the network, and only for a hub id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def local_or_hub(place: str | Path, *, wanted: str, files: Sequence[str]) -> Path:
    """Return ``place`` if it is a folder with config.json, else the folder of its download.

    Args:
        wanted: what it should be, for the error.
        files: patterns of the files to download.

    Raises:
        FileNotFoundError: a path that is no such folder, or a hub id that cannot be had.
    """
    path = Path(place)
    if (path / "config.json").is_file():
        return path
    if path.exists() or str(place).count("/") != 1 or str(place).startswith((".", "/")):
        raise FileNotFoundError(f"`path` must be {wanted}, or a hub id, but {place} is none.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(place), allow_patterns=list(files)))
    except Exception as e:  # the hub's errors have no common base that says "not there"
        raise FileNotFoundError(f"`path` {place!r} is no local folder and cannot be had from the hub: {e}") from e
