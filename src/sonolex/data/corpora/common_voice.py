"""Common Voice: sentences read by volunteers, many languages.

Origin: R. Ardila et al., LREC 2020, commonvoice.mozilla.org. Licence: CC0 1.0. Size: by language and release. Layout of
a release and language: ``clips/*.mp3`` and ``train.tsv``, ``dev.tsv``, ``test.tsv`` with client_id, path, sentence,
age, gender, accents (or accent); fields are not quoted, and sentences contain quotes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest
from sonolex.files import utf8_text

SPLITS = ("train", "dev", "test")


def prepare(
    root: str | Path | None = None,
    *,
    language: str = "en",
    splits: Sequence[str] = SPLITS,
    strict: bool = True,
) -> Manifest:
    """Return the clips of one language under ``root`` (the folder of ``clips``; default: $SONOLEX_DATA/cv-corpus/en).

    Counts differ from release to release, so the lists define what to expect: every listed clip must be there.

    Raises:
        FileNotFoundError: no lists or no clips there.
        ValueError: listed clips are missing, unless ``strict`` is False.
    """
    root = _layout.corpus_root(root, f"cv-corpus/{language}", f"common_voice/{language}")
    files = {f.name: f for f in _layout.audio_files(root, ("clips",))}
    rows, problems, expected = [], [], dict.fromkeys(splits, 0)
    for split in splits:
        path = root / f"{split}.tsv"
        if not path.is_file():
            raise FileNotFoundError(f"`root` must hold {path.name}, but {root} does not. Unpack the release there.")
        with utf8_text(path) as f:
            listed = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
        expected[split] = len(listed)
        for number, row in enumerate(listed, start=2):
            name = row["path"] if "." in row["path"] else f"{row['path']}.mp3"
            file = files.get(name)
            if file is None or not (row.get("sentence") or "").strip():
                problems.append(
                    f"{path.name}, line {number}: {name} has no {'recording' if file is None else 'sentence'}"
                )
                continue
            rows.append(
                {
                    "id": file.stem,
                    "audio": str(file.relative_to(root)),
                    "text": row["sentence"],
                    "language": language,
                    "speaker": row["client_id"],
                    "split": split,
                    "gender": row.get("gender") or None,
                    "age": row.get("age") or None,
                    "accent": row.get("accents") or row.get("accent") or None,
                }
            )
    groups = [r["split"] for r in rows]
    return _layout.checked(
        "Common Voice", rows, root, groups=groups, expected=expected, problems=problems, strict=strict
    )
