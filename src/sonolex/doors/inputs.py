"""The inputs of `predict` and `embed` on the command line, as items: recordings, folders of them, tables, texts.

Items are made one at a time, as they are needed, so a million of them need no more memory than one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonolex.audio.containers import SUFFIXES
from sonolex.data.manifest import FORMATS
from sonolex.data.table_rows import Row, table_rows
from sonolex.doors.answering import Item

BETWEEN = "://"  # marks an address; paths do not contain it


@dataclass(frozen=True)
class Asked:
    """An item, and the fields that its answer repeats: ``input``, and of a table ``table``, ``row`` and ``id``."""

    item: Item
    said: Mapping[str, Any]


def asked_items(
    words: Sequence[str],
    texts: Sequence[str] | None = None,
    *,
    reads: Sequence[str],
    note: Callable[[str], None],
    columns: Mapping[str, str] | None = None,
) -> Iterator[Asked]:
    """Yield the items that the command line names, in order.

    A folder is all recordings under it, by name; a .csv, .tsv, .jsonl, .parquet or .arrow file is a table whose paths
    begin at its folder; everything else is a recording.

    Args:
        texts: transcripts, one per recording; without recordings, each text is an input.
        reads: modalities that the model reads; a note names the columns of a table that are left out.
        note: is called with each message for the user.
        columns: names of a table's columns of "audio" and "text", where they are called otherwise.

    Raises:
        FileNotFoundError: a folder without recordings.
        ValueError: no inputs; texts that are not one per recording, or beside folders and tables; an unreadable table.
    """
    many = [word for word in words if is_folder(word) or is_table(word)]
    if not words and not texts:
        raise ValueError("`inputs` must be recordings, folders or tables, or `--text` must be given, but none are.")
    if texts and many:
        raise ValueError(f"`--text` must be left out beside folders and tables, but {many[0]} is one.")
    if texts and words and len(texts) != len(words):
        raise ValueError(f"`--text` must be one for each of {len(words)} recordings, but are {len(texts)}.")
    if columns and not any(map(is_table, words)):
        raise ValueError("`--audio-column` and `--text-column` must be left out without a table, but are given.")
    return _items(words, texts, reads, note, columns)


def is_folder(word: str) -> bool:
    return BETWEEN not in word and Path(word).is_dir()


def is_table(word: str) -> bool:
    return BETWEEN not in word and Path(word).suffix.lower() in FORMATS


def _items(
    words: Sequence[str],
    texts: Sequence[str] | None,
    reads: Sequence[str],
    note: Callable[[str], None],
    columns: Mapping[str, str] | None,
) -> Iterator[Asked]:
    for text in texts if texts and not words else ():
        yield Asked(Item(text=text, name=f"text {text!r:.60}"), {"input": text})
    for number, word in enumerate(words):
        if is_folder(word):
            yield from _recordings(word, note)
        elif is_table(word):
            yield from _of_table(Path(word), reads, note, columns)
        else:
            yield Asked(Item(word, texts[number] if texts else None, name=word), {"input": word})


def _recordings(folder: str, note: Callable[[str], None]) -> Iterator[Asked]:
    """Yield the recordings under a folder, its own by name and then those of each subfolder; links are not followed."""
    num_recordings = num_skipped = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
                num_skipped += 1
                continue
            num_recordings += 1
            path = str(Path(place) / name)
            yield Asked(Item(path, name=path), {"input": path})
    if not num_recordings:
        raise FileNotFoundError(
            f"`inputs` must be recordings ({', '.join(SUFFIXES)}), or folders with some, but {folder} has none."
        )
    if num_skipped:
        were = "1 other file was" if num_skipped == 1 else f"{num_skipped:,} other files were"
        note(f"{folder}: {num_recordings:,} recordings; {were} not read")


def _of_table(
    path: Path, reads: Sequence[str], note: Callable[[str], None], columns: Mapping[str, str] | None
) -> Iterator[Asked]:
    unread = 0
    for row in table_rows(path, names=columns):
        unread += row.text is not None and "text" not in reads
        yield _of_row(path, row, reads)
    if unread:
        note(f"{path}: the texts of {unread:,} rows were not read, because this model was not trained on text")


def _of_row(path: Path, row: Row, reads: Sequence[str]) -> Asked:
    audio = row.audio if "audio" in reads else None
    if isinstance(audio, str) and BETWEEN not in audio:
        audio = str(path.parent / audio)
    text = row.text if "text" in reads else None
    shown = row.audio if isinstance(row.audio, str) else row.text if row.audio is None else row.id
    name = f"{path} {row.place}" + (f": {shown!s:.200}" if shown else "")
    fields: dict[str, Any] = {"input": shown, "table": str(path), "row": row.number}
    fields |= ({"line": row.line} if row.line is not None else {}) | ({"id": row.id} if row.id else {})
    problem = f"{path} {row.place}: {row.problem}." if row.problem else ""
    return Asked(Item(audio, text, name, row.offset_s, row.duration_s, problem), fields)
