"""WavCaps: weakly labelled captions of sounds, four parts.

Origin: X. Mei et al., 2023, huggingface.co/datasets/cvssp/WavCaps. Licence: CC BY 4.0 for the captions, academic use;
recordings have their own. Size: 403,050 captioned clips, 7,568 h, FLAC at 32 kHz. Layout: ``json_files/PART/*.json``
(or ``PART/*.json``) and the parts' unpacked archives, in which a clip is a file of its own number: any folder of the
part's name, or of that name with ``_flac``, at any depth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest

NUM_CLIPS = {"AudioSet_SL": 108_317, "BBC_Sound_Effects": 31_201, "FreeSound": 262_300, "SoundBible": 1_232}
PARTS = tuple(NUM_CLIPS)


def prepare(root: str | Path | None = None, *, parts: Sequence[str] = PARTS, strict: bool = True) -> Manifest:
    """Return the captioned clips under ``root`` (default: $SONOLEX_DATA/WavCaps).

    Columns: ``text`` is the caption, ``part``, and ``source_id``: a Freesound recording's number, as ESC and Clotho-AQA
    have it, and the part's name with the clip's number for the others. Captions whose recording is missing are listed.

    Raises:
        FileNotFoundError: no captions of a part, or no recordings.
        ValueError: counts differ from the official release, unless ``strict`` is False; unknown parts.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise ValueError(f"`parts` must be some of {', '.join(PARTS)}, but has {', '.join(unknown)}.")
    root = _layout.corpus_root(root, "WavCaps", "wavcaps")
    rows, problems, groups = [], [], []
    for part in parts:
        entries, files = _entries(root, part), _recordings(root, part)
        missing = 0
        for entry in entries:
            number, caption = _number(entry), " ".join(str(entry.get("caption") or "").split())
            file = files.get(number)
            if file is None or not caption:
                missing += file is None
                problems += [f"{part}: clip {number} has no caption"] if not caption else []
                continue
            groups.append(part)
            rows.append(
                {
                    "id": f"{part}-{number}",
                    "audio": str(file.relative_to(root)),
                    "text": caption,
                    "language": "en",
                    "part": part,
                    "source_id": number if part == "FreeSound" else f"{part}:{number}",
                }
            )
        if missing:
            problems.append(f"{part}: {missing} of {len(entries)} captions have no recording")
    expected = {p: NUM_CLIPS[p] for p in parts}
    return _layout.checked("WavCaps", rows, root, groups=groups, expected=expected, problems=problems, strict=strict)


def _entries(root: Path, part: str) -> list[Mapping[str, Any]]:
    for folder in (root / "json_files" / part, root / part):
        for path in sorted(folder.glob("*.json")):
            return json.loads(path.read_text(encoding="utf-8"))["data"]
    raise FileNotFoundError(
        f"`root` must hold json_files/{part}/*.json, but {root} does not. Download it, or choose `parts`."
    )


def _recordings(root: Path, part: str) -> dict[str, Path]:
    folders = [p for name in (part, f"{part}_flac") for p in sorted(root.rglob(name)) if p.is_dir()]
    files = {f.stem: f for folder in folders for f in _layout.audio_files(folder, (".",))}
    if not files:
        raise FileNotFoundError(f"`root` must hold recordings in a folder {part} or {part}_flac, but {root} does not.")
    return files


def _number(entry: Mapping[str, Any]) -> str:
    """Return a clip's number: AudioSet's ids are file names."""
    name = str(entry["id"])
    return name.rsplit(".", 1)[0] if name.lower().endswith((".wav", ".flac")) else name
