"""Guess the task of `sonolex fit` from the labels of a table: one class per clip, a number, or several labels."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sonolex import terminal
from sonolex.data.columns import NUMBER
from sonolex.data.labels import separator_of, tag_counts, uneven_line
from sonolex.data.manifest import Manifest, ManifestError
from sonolex.labels import NO_TAG, TAG_SEPARATOR, class_name, tags_of

KINDS = ("classification", "regression", "tagging")
MAX_CLASSES = 200
MOST_WHOLE_CLASSES = 30  # more different whole numbers than this are quantities
NAMES_SHOWN = 20
DECIMAL_COMMA = re.compile(r"[+-]?\d{1,3}(\.\d{3})*(,\d+)?|[+-]?\d+(,\d+)?", re.ASCII)  # 1,5 and 1.234,5


class Guess(NamedTuple):
    """One question: kind and settings of its task (as JSON), and a note to print, a line or more."""

    kind: str
    settings: dict[str, Any]
    note: str


def guess_tasks(
    manifest: Manifest, labels: Sequence[str], *, requested: Sequence[str] = (), several: Sequence[str] = ()
) -> list[Guess]:
    """Return a task for every label column.

    Args:
        requested: kinds that the user wants: one of `KINDS` for all columns, or ``COLUMN=KIND``.
        several: columns that hold several labels per clip.

    Raises:
        ManifestError: labels that do not suit their kind of task; all columns at once.
        ValueError: an unknown kind or column.
    """
    kinds = asked_kinds(requested, labels)
    guesses, problems = [], []
    for label in labels:
        try:
            guesses.append(guess_task(manifest, label, kind=kinds.get(label), several=label in several))
        except ManifestError as e:
            problems += e.problems
    if problems:
        raise ManifestError("the table", problems)
    return guesses


def guess_task(manifest: Manifest, label: str, *, kind: str | None = None, several: bool = False) -> Guess:
    """Return the task for one column, with a note that gives the reason and the option for another choice.

    Without a ``kind``: several labels per clip are tagging, fractions and many different numbers regression, anything
    else classification. Clips without the label are ignored.

    Raises:
        ManifestError: labels that do not suit the kind of task: one class only, too many, words for numbers.
    """
    values = [v for v in manifest.column(label) if v is not None]
    _require_points(label, values)
    texts = [v for v in values if isinstance(v, str)]
    separated = several or (len(texts) == len(values) and separator_of(texts) == TAG_SEPARATOR)
    if kind is None and separated and any(len(tags_of(v)) != 1 for v in values):
        kind = "tagging"
    if kind == "tagging":
        return _tagging(label, texts if len(texts) == len(values) else [class_name(v) for v in values])
    if kind == "regression":
        return _regression(label, _numbers(label, values), why="as --task says")
    if kind is None and _are_quantities(values):
        few = len(set(values)) <= MAX_CLASSES
        return _regression(label, values, why=f"because {label!r} holds numbers", choice=few)
    return _classification(label, values, requested=kind is not None)


def asked_kinds(requested: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Return the kind that the user wants for each label column.

    >>> asked_kinds(["regression", "mood=classification"], ["age", "mood"])
    {'age': 'regression', 'mood': 'classification'}

    Raises:
        ValueError: an unknown kind or column.
    """
    kinds: dict[str, str] = {}
    for word in sorted((w.strip() for option in requested for w in option.split(",")), key=lambda w: "=" in w):
        column, _, kind = word.rpartition("=")
        if kind not in KINDS or (column and column not in labels):
            near = difflib.get_close_matches(kind, KINDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near and kind not in KINDS else ""
            raise ValueError(
                f"`--task` must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, or COLUMN=KIND with a column of --label "
                f"({', '.join(labels)}), but is {word!r}.{hint}"
            )
        kinds |= {column: kind} if column else dict.fromkeys(labels, kind)
    return kinds


def strata_of(manifest: Manifest, guesses: Sequence[Guess]) -> list[str] | None:
    """Return a class for every clip, of which every part of the table should get its share; None for numbers alone.

    Of several questions, the first classification counts, or else each clip's rarest tag in the first tagging.
    """
    for kind in ("classification", "tagging"):
        for guess in guesses:
            if guess.kind == kind:
                values = manifest.column(guess.settings["label"])
                return (
                    _rarest_tags(values) if kind == "tagging" else ["" if v is None else class_name(v) for v in values]
                )
    return None


def _rarest_tags(values: Sequence[Any]) -> list[str]:
    counts = Counter(name for v in values if v is not None for name in tags_of(v))
    return [min(tags_of(v), key=lambda n: counts[n], default=NO_TAG) if v is not None else "" for v in values]


def _classification(label: str, values: Sequence[Any], *, requested: bool) -> Guess:
    distinct = Counter(class_name(v) for v in values)
    if len(distinct) < 2 or len(distinct) > MAX_CLASSES:
        numbers = " They are numbers: --task regression learns them as such." if _are_numbers(values) else ""
        cure = numbers if len(distinct) > MAX_CLASSES else ""
        problem = f"{label!r} must have 2 to {MAX_CLASSES} classes, but has {len(distinct)}.{cure}"
        raise ManifestError("the table", [problem])
    classes = sorted(distinct)
    why = "as --task says" if requested else f"because {label!r} holds {len(classes)} different values"
    lines = [f"task: classification, {why}: {_shown(distinct, classes)}"]
    if not requested and _are_numbers(values) and len(distinct) > 2:
        lines.append(
            f"{label!r} holds whole numbers, {min(values):g} to {max(values):g}, and each is a class of its own. If "
            "they are points of a scale, --task regression."
        )
    separator = separator_of([v for v in values if isinstance(v, str)])
    if not requested and separator is not None and separator != TAG_SEPARATOR:
        example = next(v for v in values if isinstance(v, str) and separator in v)
        lines.append(
            f"values such as {example!r} look like several labels: if they are, --multilabel {separator!r}. Now each "
            "combination is a class."
        )
    lines += [line] if (line := uneven_line(distinct)) is not None else []
    return Guess("classification", {"name": label, "label": label, "classes": classes}, "\n".join(lines))


def _regression(label: str, values: Sequence[float], *, why: str, choice: bool = False) -> Guess:
    spread = float(np.std(values)) or 1.0
    settings = {"name": label, "label": label, "centre": float(np.mean(values)), "spread": spread}
    choose = ". --task classification makes every number a class" if choice else ""
    return Guess("regression", settings, f"task: regression, {why} ({min(values):g} to {max(values):g}){choose}")


def _tagging(label: str, cells: Sequence[str]) -> Guess:
    counts = tag_counts(cells)
    if not 1 <= len(counts) <= MAX_CLASSES:
        problem = f"{label!r} must have 1 to {MAX_CLASSES} different labels, but has {len(counts)}"
        raise ManifestError("the table", [problem])
    classes, without = sorted(counts), sum(not tags_of(cell) for cell in cells)
    note = (
        f"task: tagging, several labels a clip ({sum(counts.values()) / len(cells):.1f} on average, {without} clips "
        f"with none): {_shown(counts, classes)}. --task classification makes every combination a class"
    )
    settings = {
        "name": label,
        "label": label,
        "classes": classes,
        "metric_names": ["mean_binary_f1"],
        "tune_thresholds": True,
    }
    lines = [note, *([line] if (line := uneven_line(counts)) is not None else [])]
    return Guess("tagging", settings, "\n".join(lines))


def _numbers(label: str, values: Sequence[Any]) -> list[float]:
    """Return labels as numbers. Raises ManifestError if they are not different numbers."""
    numbers, wrong = [], Counter[str]()
    for value in values:
        if isinstance(value, bool) or (isinstance(value, str) and not NUMBER.fullmatch(value.strip())):
            wrong[class_name(value)] += 1
        else:
            numbers.append(float(value))
    if wrong or not np.isfinite(numbers).all() or len(set(numbers)) < 2:
        listed = ", ".join(f"{terminal.visible(v)!r} in {n}" for v, n in wrong.most_common(3))
        holds = f"holds {listed} rows" if wrong else "holds one value only"
        problem = f"{label!r} must hold different numbers for regression, but {holds}"
        raise ManifestError("the table", [f"{problem}. Correct them, or --task {label}=classification."])
    return numbers


def _require_points(label: str, values: Sequence[Any]) -> None:
    """Raise ManifestError for numbers with a decimal comma: they would be classes."""
    words = [v for v in values if isinstance(v, str)]
    commas = [v for v in words if "," in v]
    if commas and len(words) == len(values) and all(DECIMAL_COMMA.fullmatch(v) for v in words):
        problem = f"{label!r} must be numbers with a decimal point, but holds {commas[0]!r}"
        cure = "Write 1.5 for 1,5 (or separate cells by semicolons). If they are classes, begin with a letter."
        raise ManifestError("the table", [f"{problem}. {cure}"])


def _are_numbers(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _are_quantities(values: Sequence[Any]) -> bool:
    """Return whether labels are numbers with fractions, or many different whole ones."""
    fractions = any(isinstance(v, float) and not v.is_integer() for v in values)
    return _are_numbers(values) and (fractions or len(set(values)) > MOST_WHOLE_CLASSES)


def _shown(counts: Mapping[str, int], names: Sequence[str]) -> str:
    listed = ", ".join(f"{terminal.visible(n)} ({counts[n]})" for n in names[:NAMES_SHOWN])
    return listed + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
