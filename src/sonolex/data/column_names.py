"""The meaning of a table's columns: standard names, other words for them, and the user's choice."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sonolex.data.arrow_files import MOST_COLUMNS
from sonolex.data.problems import ManifestError

ALIASES = {  # always the standard name: a table that has both is refused
    "duration": "duration_s",
    "offset": "offset_s",
    "path": "audio",
    "file": "audio",
    "transcript": "text",
}
WORDS = {  # other common names; beside the standard name they are columns like any other
    **dict.fromkeys(("filename", "file_name", "filepath", "file_path", "wav", "wav_path", "wav_file"), "audio"),
    **dict.fromkeys(("audio_path", "audio_file", "audio_filepath", "audio_filename"), "audio"),
    **dict.fromkeys(("transcription", "sentence"), "text"),
    **dict.fromkeys(("speaker_id", "spk", "spk_id", "client_id"), "speaker"),
}
ANY_CASE = ("audio", "text", "speaker", "split")  # "Audio", "Speaker ID": one word in any case
CHOOSABLE = ("audio", "text", "speaker")
PERHAPS_SPEAKERS = ("actor", "participant", "participant_id", "subject", "subject_id", "talker", "voice", "singer")


@dataclass(frozen=True)
class Named:
    """The standard name of each column that is read, by its name in the table, and notes for the user."""

    names: dict[str, str]
    notes: list[str]


def meaning(name: str) -> str:
    """Return the standard column that a column's name means, else the name.

    >>> meaning("path"), meaning("Speaker ID"), meaning("wav_path"), meaning("mood"), meaning("Fold")
    ('audio', 'speaker', 'audio', 'mood', 'Fold')
    """
    if name in ALIASES:
        return ALIASES[name]
    word = name.strip().casefold().replace(" ", "_").replace("-", "_")
    standard = WORDS.get(word) or ALIASES.get(word, word)
    return standard if standard in ANY_CASE else name


def named(names: Sequence[str], *, where: str, chosen: Mapping[str, str] | None = None) -> Named:
    """Return the name of each column here, by its name in the table.

    A column's name decides its meaning (`meaning`). Beside the standard name, another word for it is a column of its
    own. ``chosen`` names the columns ``audio``, ``text`` and ``speaker``; others of that meaning are then left out,
    with a note.

    Raises:
        ManifestError: nameless or repeated columns, two that mean the same, too many, or no audio and no text.
    """
    chosen = {standard: name for standard, name in (chosen or {}).items() if name}
    problems = _unusable(names, where) + [_not_there(s, n, names) for s, n in chosen.items() if n not in names]
    if problems:
        raise ManifestError(where, problems)
    called: dict[str, str] = {}
    notes, meant = [], {}
    for name in names:
        means = next((s for s, n in chosen.items() if n == name), None) or meaning(name)
        if means in chosen and chosen[means] != name:
            notes.append(f"column {name!r} is not read: {chosen[means]!r} was chosen as {means!r}")
            continue
        if means in names and means != name and name not in ALIASES and means not in chosen:
            means = name
        called[name] = means
        meant.setdefault(means, []).append(name)
    problems = [_same(means, same) for means, same in meant.items() if len(same) > 1]
    if not problems and not {"audio", "audio_bytes", "text"} & set(meant):
        problems = [_nothing_to_read(list(names))]
    if problems:
        raise ManifestError(where, problems)
    other = [f"{name!r} as {means!r}" for name, means in called.items() if name != means and means in ANY_CASE]
    return Named(called, [*([f"columns: read {', '.join(other)}"] if other else []), *notes])


def _unusable(names: Sequence[str], where: str) -> list[str]:
    if len(names) > MOST_COLUMNS:
        raise ManifestError(where, [f"it must have at most {MOST_COLUMNS:,} columns, but has {len(names):,}"])
    twice = [n for n, count in Counter(names).items() if count > 1]
    problems = [f"header: column {n!r} occurs twice: rename one of them" for n in twice]
    return problems + [f"header: column {i + 1} has no name: give it one" for i, n in enumerate(names) if not n.strip()]


def _not_there(standard: str, name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"column {name!r} (--{standard}-column) is missing; it has {shown(names)}.{hint}"


def _same(means: str, same: Sequence[str]) -> str:
    option = f", or say which with --{means}-column" if means in CHOOSABLE else ", or rename it"
    return f"columns {' and '.join(map(repr, same))} mean the same ({means!r}): keep one{option}"


def _nothing_to_read(names: Sequence[str]) -> str:
    nearest = difflib.get_close_matches("audio", names, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r} to be 'audio'?" if nearest else ""
    cure = f"{hint} Name it with --audio-column or --text-column, or rename it."
    return f"it must have a column 'audio' (paths) or 'text', but has {shown(names)}.{cure}"


def shown(names: Sequence[str]) -> str:
    """Return the names of columns, the first of many."""
    return f"{list(names)[:20]}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")
