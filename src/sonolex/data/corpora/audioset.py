"""AudioSet: ten-second excerpts of videos with any of 527 sound classes.

Origin: research.google.com/audioset (Gemmeke et al. 2017). Licence of the labels: CC BY 4.0; the audio is not
distributed. Size: 22,160 balanced, 2,042,985 unbalanced and 20,371 evaluation excerpts; fewer exist every year.
Layout: the released ``{balanced_train,unbalanced_train,eval}_segments.csv`` and ``class_labels_indices.csv``, and the
recordings you have in ``{segments}/`` as ``{video}.wav``, ``Y{video}.wav`` or ``{video}_{start in ms}.wav``.
"""

from __future__ import annotations

import csv
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest, manifest_from_rows
from sonolex.files import utf8_text
from sonolex.terminal import say

NUM_CLASSES = 527
SEPARATOR = ";"
SPLITS = {"balanced_train": "train", "unbalanced_train": "train", "eval": "test"}
NUM_LISTED = {"balanced_train": 22_160, "unbalanced_train": 2_042_985, "eval": 20_371}


def prepare(
    root: str | Path | None = None, *, segments: tuple[str, ...] = ("balanced_train", "eval"), strict: bool = True
) -> Manifest:
    """Return the excerpts under ``root`` (default: ``$SONOLEX_DATA/audioset``); column ``tags`` joins names by ";".

    Raises:
        FileNotFoundError: a list or a folder is missing.
        ValueError: listed excerpts have no recording, unless ``strict`` is False (then they are counted and left out).
    """
    root = _layout.corpus_root(root, "audioset", "AudioSet")
    names = class_names(root)
    rows, problems = [], []
    for part in segments:
        if part not in SPLITS:
            raise ValueError(f"`segments` must be some of {', '.join(SPLITS)}, but has {part!r}.")
        files = {f.stem: f for f in _layout.audio_files(root, (part,))}
        excerpts = _excerpts(root / f"{part}_segments.csv")
        if len(excerpts) != NUM_LISTED[part]:
            problems.append(f"{part}: expected {NUM_LISTED[part]} listed excerpts, found {len(excerpts)}")
        before = len(rows)
        for video, start_s, end_s, codes in excerpts:
            stems = (video, f"Y{video}", f"{video}_{round(start_s * 1000)}")
            file = next((files[s] for s in stems if s in files), None)
            if file is None:
                continue
            rows.append(
                {
                    "id": f"{video}_{start_s:g}",
                    "audio": str(file.relative_to(root)),
                    "source_id": video,
                    "split": SPLITS[part],
                    "tags": SEPARATOR.join(names[c] for c in codes),
                    "listed_s": end_s - start_s,
                }
            )
        recorded = len(rows) - before
        say(f"AudioSet, {part}: found {recorded} of {len(excerpts)} listed excerpts in {root}")
        if recorded < len(excerpts):
            problems.append(f"{part}: {len(excerpts) - recorded} of {len(excerpts)} listed excerpts have no recording")
    if problems and strict:
        listed = "".join(f"\n  - {p}" for p in problems)
        raise ValueError(
            f"AudioSet in {root} differs from the official release:{listed}\nVideos disappear: pass strict=False "
            "(--no-strict) to use what is there, and report how many excerpts that is."
        )
    return manifest_from_rows(rows, root=root, where="AudioSet")


def class_names(root: Path) -> dict[str, str]:
    """Return display names by code (``/m/09x0r``), in the official order.

    Raises:
        FileNotFoundError: no class_labels_indices.csv.
        ValueError: another number of classes.
    """
    path = root / "class_labels_indices.csv"
    if not path.is_file():
        raise FileNotFoundError(f"`root` must hold {path.name}, but {root} does not. Unpack the release there.")
    with utf8_text(path) as f:
        names = {row["mid"]: row["display_name"] for row in csv.DictReader(f)}
    if len(names) != NUM_CLASSES:
        raise ValueError(f"{path} must have {NUM_CLASSES} classes, but has {len(names)}.")
    return names


def _excerpts(path: Path) -> list[tuple[str, float, float, list[str]]]:
    """Return (video, start, end, class codes) of a released list, whose first lines are comments."""
    if not path.is_file():
        raise FileNotFoundError(f"`root` must hold {path.name}, but does not. Unpack the release there.")
    with utf8_text(path) as f:
        lines = [line for line in csv.reader(f, skipinitialspace=True) if line and not line[0].startswith("#")]
    return [(line[0], float(line[1]), float(line[2]), line[3].split(",")) for line in lines]
