"""ESC-10: ten environmental sounds, 40 clips each.

Origin: github.com/karolpiczak/ESC-10. Licence: CC BY 3.0, attribution by clip. Size: 400 clips of about 5 s, 0.56 h,
44.1 kHz. Layout: ``NNN - Sound name/{fold}-{clip}-{take}.ogg``, or ``audio/`` with the same names (any format) and a
``manifest.jsonl`` that gives each clip its sound. Official folds: 1 to 5; clips of one recording share a fold.
"""

from __future__ import annotations

from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.corpora.esc50 import CLIPS_PER_CLASS_AND_FOLD, FOLDS, NAME, row_of
from sonolex.data.manifest import Manifest, read_manifest

SOUNDS = (
    "baby cry",
    "chainsaw",
    "clock tick",
    "dog bark",
    "fire crackling",
    "helicopter",
    "person sneeze",
    "rain",
    "rooster",
    "sea waves",
)


def prepare(root: str | Path | None = None, *, strict: bool = True) -> Manifest:
    """Return the corpus under ``root`` (default: ``$SONOLEX_DATA/esc10``).

    Raises:
        FileNotFoundError: no recordings there.
        ValueError: counts differ from the official release, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, "esc10", "ESC-10", "ESC-10-master")
    rows, problems = [], []
    for file, sound in _labelled_files(root):
        match = NAME.fullmatch(file.stem)
        if match is None or sound not in SOUNDS:
            problems.append(
                f"{file.name}: must be named fold-clip-take and have one of the ten sounds, but has {sound!r}"
            )
            continue
        rows.append(row_of(file, root, match, sound))
    expected = {f"{s}, fold {f}": CLIPS_PER_CLASS_AND_FOLD for s in SOUNDS for f in FOLDS}
    groups = [f"{r['sound']}, fold {r['fold']}" for r in rows]
    return _layout.checked("ESC-10", rows, root, groups=groups, expected=expected, problems=problems, strict=strict)


def _labelled_files(root: Path) -> list[tuple[Path, str]]:
    """Return audio files with their sound: from the manifest beside ``audio``, or from the official folders' names."""
    if (root / "manifest.jsonl").is_file():
        clips = read_manifest(root / "manifest.jsonl")
        sounds = dict(zip(clips.column("id"), clips.column("sound_event"), strict=True))
        return [(f, str(sounds.get(f.stem))) for f in _layout.audio_files(root, ("audio",))]
    folders = sorted(p for p in root.glob("[0-9]* - *") if p.is_dir())
    if not folders:
        raise FileNotFoundError(f"`root` must hold folders named 'NNN - Sound', but {root} does not. Unpack it there.")
    names = {f: f.name.split(" - ", 1)[1].strip().lower() for f in folders}
    return [(file, names[folder]) for folder in folders for file in _layout.audio_files(root, (folder.name,))]
