"""Shared by corpus files: find the root and the audio, compare counts, fail loudly."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonolex.audio.containers import SUFFIXES
from sonolex.data.manifest import Manifest, manifest_from_rows
from sonolex.terminal import say

WHERE = (
    "Name it with --root (of prepare, evaluate, robustness and similarity; root= in Python), or set the environment "
    "variable SONOLEX_DATA to the folder that holds it, which works for every verb."
)


def corpus_root(root: str | Path | None, *names: str) -> Path:
    """Return the folder of a corpus: ``root``, or the first of ``names`` that exists under $SONOLEX_DATA.

    Raises:
        FileNotFoundError: it does not exist; the message tells what to do.
    """
    if root is not None:
        if not Path(root).is_dir():
            raise FileNotFoundError(f"`root` must be the folder of {names[0]}, but {root} does not exist. {WHERE}")
        return Path(root)
    base = os.environ.get("SONOLEX_DATA")
    for name in names if base else ():
        if (Path(base or "") / name).is_dir():
            return Path(base or "") / name
    known = f"$SONOLEX_DATA ({base}) holds no {' or '.join(names)}" if base else "none is given"
    raise FileNotFoundError(f"the folder of {names[0]} must be known, but {known}. {WHERE}")


def audio_files(root: Path, folders: Sequence[str]) -> list[Path]:
    """Return the audio files in the first of ``folders`` that exists under ``root``, sorted by path.

    Raises:
        FileNotFoundError: none of the folders exists.
    """
    for name in folders:
        if (root / name).is_dir():
            return sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in SUFFIXES)
    raise FileNotFoundError(f"`root` must hold {' or '.join(folders)}, but {root} does not. Unpack the release there.")


def checked(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    root: Path,
    *,
    groups: Sequence[str],
    expected: Mapping[str, int],
    problems: Sequence[str] = (),
    strict: bool = True,
) -> Manifest:
    """Return the rows as a manifest after comparing counts with the official release; print how many there are.

    Args:
        groups: of every clip (its class, fold or split), to be counted.
        expected: number of clips of every group in the official release.

    Raises:
        ValueError: any count differs or any file was not understood, all of them at once (unless ``strict`` is False).
    """
    counts = Counter(groups)
    differing = [
        f"{key}: expected {expected.get(key, 0)}, found {counts.get(key, 0)}"
        for key in sorted(set(expected) | set(counts))
        if expected.get(key, 0) != counts.get(key, 0)
    ]
    say(f"{name}: found {len(rows)} of {sum(expected.values())} clips in {root}")
    if differing or problems:
        listed = "".join(f"\n  - {p}" for p in [*problems[:30], *differing[:30]])
        hidden = max(0, len(problems) - 30) + max(0, len(differing) - 30)
        listed += f"\n  … and {hidden} more" if hidden else ""
        message = f"{name} in {root} differs from the official release:{listed}"
        if strict:
            raise ValueError(f"{message}\nUnpack it again, or pass strict=False (--no-strict) to use what is there.")
        say(message)
    return manifest_from_rows(rows, root=root, where=name)
