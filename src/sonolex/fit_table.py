"""What `sonolex fit` makes of a user's table before anything is trained: usable rows, the question, what changed."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import terminal
from sonolex.data.checks import check_clips
from sonolex.data.columns import ALIASES, STANDARD_COLUMNS
from sonolex.data.manifest import Manifest, ManifestError, read_manifest
from sonolex.scoring import class_name

MAX_CLASSES = 200
SMALLEST_NUMBER_OF_CLIPS = 12
DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?", re.ASCII)
NO_LABELS = {
    **dict.fromkeys(("id", "source_id"), "names clips and recordings"),
    **dict.fromkeys(("audio", "audio_bytes", "text"), "is what a model reads"),
    **dict.fromkeys(("offset_s", "duration_s", "sampling_rate", "audio_digest"), "is what a file says of itself"),
    **dict.fromkeys(("split", "fold"), "divides the table"),
}
SKIP = "Repair these rows, or leave them out with --skip-bad."


@dataclass(frozen=True)
class Table:
    """A user's table after all checks: usable rows, and what has to be said about the rest."""

    manifest: Manifest
    notes: list[str]


def checked_table(
    path: Path, *, label: str, skip_bad: bool, longest_s: float = np.inf, reader: str = "the model"
) -> Table:
    """Return the usable rows of a table, every clip of which has been decoded to its end.

    Args:
        longest_s: what ``reader`` can take of one clip.

    Raises:
        ManifestError: wrong header or unusable rows, all of them (unusable rows only unless ``skip_bad``).
    """
    manifest = read_manifest(path)
    problems = _header_problems(manifest.table.column_names, label)
    if problems:
        raise ManifestError(str(path), problems)
    labels, texts = manifest.column(label), manifest.column("text")
    checked = check_clips(manifest, longest_s=longest_s, reader=reader)
    bad = checked.problems
    unlabelled = [r for r in range(len(manifest)) if labels[r] is None and r not in bad]
    if bad and not skip_bad:
        listed = [f"row {r + 1}: {problem}" for r, problem in sorted(bad.items())]
        raise ManifestError(str(path), listed, cure=SKIP)
    usable = [r for r in range(len(manifest)) if r not in bad and labels[r] is not None]
    notes = [*manifest.notes, *checked.notes]
    notes += [f"left out, row {r + 1}: {problem}" for r, problem in sorted(bad.items())]
    if unlabelled:
        notes.append(f"left out: {len(unlabelled)} rows without {label!r}")
    require_enough(len(usable), str(path), notes)
    if "text" in manifest.table.column_names and not any(texts):
        notes.append("column 'text' is empty: audio only")
    return Table(checked.manifest.take(usable), notes)


def require_enough(count: int, where: str, notes: Sequence[str]) -> None:
    """Raise ManifestError for fewer usable rows than can be divided and learned from."""
    if count < SMALLEST_NUMBER_OF_CLIPS:
        problem = f"it must have at least {SMALLEST_NUMBER_OF_CLIPS} usable rows, but has {count}"
        raise ManifestError(where, [problem, *notes])


def guess_task(manifest: Manifest, label: str) -> tuple[str, dict[str, Any], str]:
    """Return the task's kind, its config as JSON, and a sentence that says why.

    Raises:
        ManifestError: one class only, too many, or numbers with a decimal comma.
    """
    values = manifest.column(label)
    _require_points(label, values)
    distinct = Counter(class_name(v) for v in values)
    fractional = any(isinstance(v, float) and not v.is_integer() for v in values)
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values) and (
        fractional or len(distinct) > 30
    ):
        spread = float(np.std(values) or 1.0)
        task = {"name": label, "label": label, "centre": float(np.mean(values)), "spread": spread}
        note = f"task: regression, because {label!r} holds numbers ({min(values):g} to {max(values):g})"
        return "regression", task, note
    if len(distinct) < 2 or len(distinct) > MAX_CLASSES:
        raise ManifestError("the table", [f"{label!r} must have 2 to {MAX_CLASSES} classes, but has {len(distinct)}"])
    classes = sorted(distinct)
    shown = ", ".join(f"{terminal.visible(c)} ({distinct[c]})" for c in classes[:20])
    note = f"task: classification, because {label!r} holds {len(classes)} different values: {shown}"
    return "classification", {"name": label, "label": label, "classes": classes}, note


def require_same_clips(folder: Path, wanted: Manifest, label: str) -> None:
    """Raise ValueError if the folder holds a fit of other clips, saying what changed."""
    if not (folder / "manifest.arrow").is_file():
        return
    changes = changes_between(read_manifest(folder / "manifest.arrow"), wanted, label)
    if changes:
        raise ValueError(
            f"{folder} must hold a fit of the same table, but since then {'; '.join(changes)}. "
            "Name another folder with --out, or remove this one to start again."
        )


def changes_between(before: Manifest, after: Manifest, label: str) -> list[str]:
    """Return what differs between two tables in all that decides a fit's scores, in words; empty if nothing does."""
    rows = [{i: r for r, i in enumerate(m.column("id"))} for m in (before, after)]
    gone, new = [i for i in rows[0] if i not in rows[1]], [i for i in rows[1] if i not in rows[0]]
    known = ((gone, "removed"), (new, "added"))
    changes = [f"{len(ids)} clips were {what} ({_some(ids)})" for ids, what in known if ids]
    both = [i for i in rows[0] if i in rows[1]]
    words = {label: f"the label {label!r}", "audio_digest": "the audio", "text": "the transcript"}
    for column in (label, "audio_digest", "text", "speaker", "split"):
        if column not in before.table.column_names and column not in STANDARD_COLUMNS:
            return [*changes, f"the label is {label!r}, which it did not have"]
        old, current = before.column(column), after.column(column)
        differing = [i for i in both if old[rows[0][i]] != current[rows[1][i]]]
        if differing:
            what = words.get(column, f"the {column}")
            changes.append(f"{what} of {len(differing)} clips changed ({_some(differing)})")
    return changes


def _require_points(label: str, values: Sequence[Any]) -> None:
    """Raise ManifestError for numbers with a decimal comma: they would be classes."""
    words = [v for v in values if isinstance(v, str)]
    commas = [v for v in words if "," in v]
    if commas and len(words) == len(values) and all(DECIMAL_COMMA.fullmatch(v) for v in words):
        problem = f"{label!r} must be numbers with a decimal point, but holds {commas[0]!r}"
        raise ManifestError("the table", [problem], cure="Write 1.5 for 1,5. If they are classes, begin with a letter.")


def _header_problems(names: list[str], label: str) -> list[str]:
    problems = []
    meant = ALIASES.get(label, label)
    if meant in NO_LABELS:
        problems.append(
            f"`label` must be a column to predict, but {label!r} {NO_LABELS[meant]}. "
            "Copy the column under another name if you mean it."
        )
    elif label not in names:
        near = difflib.get_close_matches(label, names, n=1)
        problems.append(
            f"column {label!r} is missing; it has {names}." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    for wanted in ("audio", "speaker", "text", "split"):
        near = [] if wanted in names else difflib.get_close_matches(wanted, names, n=1, cutoff=0.75)
        if near and near[0] != label and near[0] not in STANDARD_COLUMNS:
            problems.append(f"column {near[0]!r} looks like {wanted!r}: rename it, or name it differently")
    return problems


def _some(ids: Sequence[str]) -> str:
    return ", ".join(repr(i) for i in ids[:3]) + (", …" if len(ids) > 3 else "")
