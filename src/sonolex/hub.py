"""A local folder, or a download from the Hugging Face hub: the one place that may touch the network.

Only ``hub:ORG/NAME`` contacts the hub. Everything else is a path, so that a mistyped one is an error and not a network
request.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sonolex.terminal import say

HUB = "hub:"
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*", re.ASCII)


def local_or_hub(place: str | Path, *, wanted: str, files: Sequence[str]) -> Path:
    """Return ``place`` if it is a folder with config.json, or the folder of its download if it is ``hub:ORG/NAME``.

    ``hub:ORG/NAME@REVISION`` is a branch, tag or commit. Only files directly in the repository are downloaded.

    Args:
        wanted: kind of folder, for the error.
        files: patterns of the files to download.

    Raises:
        FileNotFoundError: a path that is no such folder, or a repository that cannot be downloaded.
        ValueError: something else after ``hub:``.
    """
    name = str(place)
    if name.startswith(HUB):
        return _downloaded(name.removeprefix(HUB), files)
    path = Path(place)
    if (path / "config.json").is_file():
        return path
    cure = f" To download it from the hub, write {HUB}{name}." if _ID.fullmatch(name) and not path.exists() else ""
    problem = "has no config.json" if path.is_dir() else "is no folder" if path.exists() else "does not exist"
    raise FileNotFoundError(f"`path` must be {wanted}, but {name!r} {problem}.{cure}")


def _downloaded(name: str, files: Sequence[str]) -> Path:
    repository, _, revision = name.partition("@")
    if not _ID.fullmatch(repository) or (name != repository and not _REVISION.fullmatch(revision)):
        raise ValueError(f"a place on the hub must be {HUB}ORG/NAME or {HUB}ORG/NAME@REVISION, but is {HUB}{name!r}.")
    from huggingface_hub import snapshot_download

    say(f"downloading {name} from the Hugging Face hub (files that are not cached yet)", file=sys.stderr)
    try:
        folder = snapshot_download(
            repository, revision=revision or None, allow_patterns=list(files), ignore_patterns=["*/*"]
        )
    except Exception as e:  # the hub's errors have no common base for "not there"
        reason = str(e).strip().partition("\n")[0]
        raise FileNotFoundError(f"{HUB}{name} cannot be had from the hub: {reason}") from e
    return Path(folder)
