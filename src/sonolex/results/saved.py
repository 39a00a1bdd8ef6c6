"""Read the files of runs without trusting them: sizes are checked first, then every field that is used.

All problems of a file become one line that names it and its fields; none of its code runs, and its memory is bounded
before it is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonolex.arrays import load_arrays
from sonolex.configs import module_names
from sonolex.files import load_object
from sonolex.scores.base import find_scorer, is_number

MOST_PREDICTIONS_BYTES = 256 << 20  # 20,000 clips of AudioSet take 90 MB
MOST_EMBEDDINGS_BYTES = 64 << 20  # 1,000 vectors of 4,096 values take 16 MB
MOST_PAIRED_CLIPS = 10_000  # scoring pairs of clips takes memory by their square
MOST_NAMES = 1000  # tasks, metrics, published rows, points of a curve
MOST_CHARACTERS = 5000  # of a name; some are paths
CURE = "Copy it again, or make it again with the command that wrote it."

Check = tuple[str, Callable[[Any], bool]]


def read_results(places: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Return the results of every finished run under the folders, each with its ``folder``; each folder once.

    Raises:
        FileNotFoundError: a folder without finished runs.
        ValueError: a results.json is not what a run writes.
    """
    by_folder: dict[Path, dict[str, Any]] = {}
    for place in places:
        paths = sorted(Path(place).rglob("results.json"))
        if not paths:
            raise FileNotFoundError(f"`folders` must hold finished runs (results.json), but {place} does not.")
        for path in paths:
            if path.parent.resolve() not in by_folder:
                by_folder[path.parent.resolve()] = load_results(path) | {"folder": path.parent}
    return list(by_folder.values())


def load_results(path: Path) -> dict[str, Any]:
    """Return a results.json. Raises ValueError unless every field that tables and pages read is valid."""
    values = load_object(path)
    _require(values, RESULTS, path, optional=("load_s", "trained_clips", "modalities", "verdict"))
    _require(values["environment"], ENVIRONMENT, path, inside="environment")
    if "fingerprint" in values:
        _require(values, COMPARED, path, optional=("published", "notes"))
    return values


def load_predictions(path: Path, *, trust_code: bool = False, own: Collection[str] = ()) -> dict[str, Any]:
    """Return predictions as `sonolex.train.evaluation.write_scores` saved them; ``scores`` are an array.

    ``scorer`` is the `Scorer` itself.

    Args:
        trust_code: the file may name a task outside the package, which scores the predictions; its code then runs.
        own: names outside the package that are trusted in any case, because the caller's own code gives them.

    Raises:
        FileNotFoundError: there are none.
        ValueError: anything that the scorer could not, or should not, read.
    """
    values = load_object(path, most_bytes=MOST_PREDICTIONS_BYTES)
    _require(values, PREDICTIONS, path, optional=("groups",))
    options, count = values["options"], len(values["clip_ids"])
    try:
        scorer = find_scorer(values["scorer"], trust_code=trust_code or values["scorer"] in own)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    try:
        scorer.require_options(options)
    except ValueError as e:
        raise ValueError(f"{path}: {e} {CURE}") from None
    if not scorer.clipwise and count > MOST_PAIRED_CLIPS:
        raise ValueError(f"{path} must have at most {MOST_PAIRED_CLIPS:,} clips for {scorer.name}, but has {count:,}.")
    for name in ("labels", "scores", "groups"):
        if name in values and len(values[name]) != count:
            raise ValueError(f"`{name}` of {path} must be of {count} clips, but is of {len(values[name])}. {CURE}")
    width = len(values["scores"][0])
    wanted = scorer.width(width, options)
    if width != wanted:
        raise ValueError(f"each row of `scores` of {path} must have {wanted} numbers, but has {width}. {CURE}")
    different = [v for _, v in {(type(v), v) for v in values["labels"] if v is not None}]  # True is not 1
    wrong = scorer.wrong_labels(different, options)
    if wrong:
        raise ValueError(f"`labels` of {path} must be what {scorer.name} scores, but one is {_shown(wrong[0])}. {CURE}")
    return values | {"scorer": scorer, "scores": np.array(values["scores"], np.float64)}


def load_embeddings(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return vectors (N, D), and the group (speaker) and label of each (N,) as `write_embeddings` saved them.

    Labels are None in files of older versions, and of models with several tasks.

    Raises:
        ValueError: anything else.
    """
    arrays = load_arrays(path, most_bytes=MOST_EMBEDDINGS_BYTES)
    pooled, groups = arrays.get("pooled"), arrays.get("groups")
    if pooled is None or groups is None or pooled.ndim != 2 or pooled.dtype.kind != "f" or groups.dtype.kind != "U":
        raise ValueError(f"{path} must hold `pooled` (clips, D) and `groups` (clips,), but does not. {CURE}")
    if groups.shape != pooled.shape[:1]:
        raise ValueError(f"`groups` of {path} must be of {len(pooled)} clips, but are {groups.shape}. {CURE}")
    labels = arrays.get("labels")
    if labels is not None and (labels.dtype.kind != "U" or labels.shape != groups.shape):
        raise ValueError(f"`labels` of {path} must be a text for each of {len(pooled)} clips, but are not. {CURE}")
    return pooled, groups, labels


def load_robustness(path: Path) -> dict[str, Any]:
    """Return a robustness.json. Raises ValueError unless it is what `sonolex.studies.robustness` writes."""
    values = load_object(path)
    _require(values, ROBUSTNESS, path)
    tasks = {task: set(scores) for task, scores in values["scores"].items()}
    for name, points in values["sweeps"].items():
        for point in points:
            _require(point, POINT, path, inside=f"sweeps.{name}")
            if name not in values["units"] or any(
                not names <= set(point["scores"].get(t, {})) for t, names in tasks.items()
            ):
                raise ValueError(f"`sweeps.{name}` of {path} must have a unit and every score, but lacks some. {CURE}")
    return values


def load_sweep(path: Path) -> dict[str, Any]:
    """Return a sweep.json. Raises ValueError unless it is what `sonolex.train.sweep` writes."""
    values = load_object(path)
    _require(values, SWEEP, path)
    for trial in values["trials"]:
        _require(trial, TRIAL, path, inside="trials")
        if trial["state"] == "complete" and (trial["value"] is None or set(values["best"]) - set(trial["values"])):
            raise ValueError(f"`trials` of {path} must have a value for each of `best`, but {trial} has not. {CURE}")
    return values


def load_similarity(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a similarity.json. Raises ValueError unless it is what `sonolex.studies.similarity` writes."""
    values = load_object(path)
    _require(values, {"rows": ("a list of layers", _list_of(_is_mapping, MOST_NAMES))}, path)
    for row in values["rows"]:
        _require(row, LAYER, path, inside="rows")
    return values["rows"]


def is_count(value: Any) -> bool:
    """Return whether a value from JSON is a whole number that may count something."""
    return type(value) is int and 0 <= value < 1 << 53


def _require(
    values: Any, fields: Mapping[str, Check], path: Path, *, inside: str = "", optional: Iterable[str] = ()
) -> None:
    """Raise one ValueError that names every field that is missing or not valid."""
    values = values if isinstance(values, dict) else {}
    problems = []
    for name, (wanted, fits) in fields.items():
        place = f"{inside}.{name}" if inside else name
        if name not in values:
            problems += [] if name in optional else [f"`{place}` must be {wanted}, but is missing"]
        elif not fits(values[name]):
            problems.append(f"`{place}` must be {wanted}, but is {_shown(values[name])}")
    if problems:
        raise ValueError(f"{path}: {'; '.join(problems)}. {CURE}")


def _shown(value: Any) -> str:
    """Return the beginning of a value, without formatting all of it first."""
    kind = type(value).__name__
    if isinstance(value, list | dict):
        return f"a {'list' if kind == 'list' else 'mapping'} of {len(value):,}"
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a whole number of more than 64 bits"
    return repr(value if not isinstance(value, str) or len(value) <= 60 else value[:60] + "…")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_CHARACTERS


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and len(value) <= MOST_NAMES and all(map(_is_text, value))


def _list_of(fits: Callable[[Any], bool], most: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(fits, value))


def _mapping_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: _is_mapping(value) and all(map(fits, value.values()))


def _is_seed(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 63


def _is_matrix(value: Any) -> bool:
    """Return whether rows are equally long and hold numbers; testing types as a set is quick for millions."""
    if not isinstance(value, list) or not value or not all(isinstance(row, list) and row for row in value):
        return False
    return len({len(row) for row in value}) == 1 and all(
        {*map(type, row)} <= {int, float} and all(-1e300 < v < 1e300 for v in row) for row in value
    )


def _is_score(value: Any) -> bool:
    return is_number(value) or isinstance(value, float)  # the sensitivity index of a perfect area is infinite


def _is_label(value: Any) -> bool:
    return value is None or isinstance(value, bool) or _is_text(value) or is_number(value)


def _is_fingerprint(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9A-Za-z]{1,64}", value) is not None


TEXT: Check = (f"text of at most {MOST_CHARACTERS:,} characters", _is_text)
NUMBER: Check = ("a finite number", is_number)
COUNT: Check = ("a whole number from 0 on", is_count)
MAPPING: Check = ("a mapping of text to anything", _is_mapping)
NUMBERS_BY_NAME: Check = ("finite numbers by name", _mapping_of(is_number))
SCORES: Check = ("numbers by task and metric", _mapping_of(_mapping_of(_is_score)))
RESULTS: dict[str, Check] = {
    "run": TEXT,
    "row": TEXT,
    "seed": ("a whole number of 64 bits", _is_seed),
    "environment": MAPPING,
    "train_s": NUMBER,
    "load_s": ("a finite number or nothing", lambda v: v is None or is_number(v)),
    "trained_clips": COUNT,
    "num_parameters": COUNT,
    "modalities": ("a list of text", _list_of(_is_text, MOST_NAMES)),
    "verdict": ("a list of text", _list_of(_is_text, MOST_NAMES)),
}
ENVIRONMENT: dict[str, Check] = {
    "sonolex": TEXT,
    "torch": TEXT,
    "git_commit": ("text or nothing", lambda v: v is None or _is_text(v)),
    "git_dirty": ("true or false", lambda v: isinstance(v, bool)),
    "num_cpus": ("a whole number or nothing", lambda v: v is None or is_count(v)),
}
COMPARED: dict[str, Check] = {
    "protocol": TEXT,
    "fold": TEXT,
    "fingerprint": ("up to 64 letters and digits", _is_fingerprint),
    "card": ("a mapping of text to anything", lambda v: isinstance(v, dict)),
    "primary": TEXT,
    "scores": ("metrics by task", _mapping_of(_is_mapping)),
    "published": ("finite numbers by row and metric", _mapping_of(_mapping_of(is_number))),
    "notes": TEXT,
}
PREDICTIONS: dict[str, Check] = {
    "scorer": (f"one of {', '.join(module_names('scores'))}, or the module of a task", _is_text),
    "options": MAPPING,
    "clip_ids": (
        "a list of different texts, at least one",
        lambda v: isinstance(v, list) and len(v) > 0 and all(map(_is_text, v)) and len(set(v)) == len(v),
    ),
    "labels": ("a list of text, numbers, true, false or nothing", _list_of(_is_label)),
    "scores": ("equally long lists of finite numbers", _is_matrix),
    "groups": ("a list of text or nothing", _list_of(lambda v: v is None or _is_text(v))),
}
ROBUSTNESS: dict[str, Check] = {
    "primary": TEXT,
    "scores": SCORES,
    "units": ("text by sweep", _mapping_of(_is_text)),
    "sweeps": ("lists of points by sweep", _mapping_of(_list_of(_is_mapping, MOST_NAMES))),
}
POINT: dict[str, Check] = {"amount": NUMBER, "scores": SCORES}
SWEEP: dict[str, Check] = {
    "best": MAPPING,
    "importance": NUMBERS_BY_NAME,
    "trials": ("a list of trials", _list_of(_is_mapping)),
}
TRIAL: dict[str, Check] = {
    "number": COUNT,
    "state": TEXT,
    "value": ("a finite number or nothing", lambda v: v is None or is_number(v)),
    "values": ("text, numbers, true, false or nothing by name", _mapping_of(_is_label)),
}
LAYER: dict[str, Check] = {"place": TEXT, "cka": NUMBER, "recall_at_1": NUMBER, "chance": NUMBER}
