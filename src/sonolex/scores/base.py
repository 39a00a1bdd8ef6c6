"""Scorers turn labels and scores into named metrics, and check what a file of such scores may hold.

A task names its scorer, and predictions are saved with the scorer's name and options, so that a table needs neither the
model nor torch. Labels are raw values of the manifest, None where unknown. Files are not trusted: options, widths
and labels are checked before anything is computed from them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sonolex import configs
from sonolex.labels import class_name

NO_CLASS = -1  # true class id of a label outside an open vocabulary; it is never predicted
OURS = "sonolex.scores."
Check = tuple[str, Callable[[Any], bool]]
"""What a value must be, in words, and its test."""


class Scorer(abc.ABC):
    """One kind of scores. A task from outside the package may bring its own, in the task's file."""

    options: ClassVar[Mapping[str, Check]] = {}
    """The options that may be saved with predictions."""
    required: ClassVar[tuple[str, ...]] = ()
    """The options that scoring needs."""
    one_class: ClassVar[bool] = False
    """Whether each clip has one of ``options["classes"]``, with a column of scores for each: confusion matrices and
    recalls make sense then, and "accuracy" and "balanced_accuracy" are those of `sonolex.metrics`."""
    clipwise: ClassVar[bool] = False
    """Whether metrics may be computed on clips drawn with replacement; where pairs of clips are scored they may not,
    and scoring takes memory by the square of the clips."""
    num_draws: ClassVar[int] = 300
    """Of a bootstrap interval, if ``clipwise``."""
    intervals_of: ClassVar[tuple[str, ...]] = ()
    """Metrics that have an interval in tables besides the primary one."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    """Metrics of which less is better."""
    paper_words: ClassVar[Mapping[str, str]] = {}
    """What papers call a metric, e.g. ``{"accuracy": "WA in CTAL"}``."""

    @abc.abstractmethod
    def metrics(
        self, labels: Sequence[Any], scores: np.ndarray, options: Mapping[str, Any], groups: Sequence[Any] | None
    ) -> dict[str, float]:
        """Return named metrics of clips (N,) with scores (N, C), all labels known.

        Args:
            groups: what the clips come from (speakers, recordings), None where unknown.

        Raises:
            ValueError: labels of another kind.
        """

    @property
    def name(self) -> str:
        """The name of its module; of our own modules the last part."""
        return type(self).__module__.removeprefix(OURS)

    def score(
        self,
        labels: Sequence[Any],
        scores: np.ndarray,
        options: Mapping[str, Any] | None = None,
        *,
        groups: Sequence[Any] | None = None,
    ) -> dict[str, float]:
        """Return the metrics over the clips whose label is known; empty if none is.

        Raises:
            ValueError: options or labels of another kind.
        """
        options = options or {}
        self.require_options(options)
        known = [i for i, v in enumerate(labels) if v is not None]
        if not known:
            return {}
        of_known = None if groups is None else [groups[i] for i in known]
        return self.metrics([labels[i] for i in known], np.asarray(scores)[known], options, of_known)

    def require_options(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError unless all options are of this kind and valid, and no required one is missing."""
        unknown = sorted(set(options) - set(self.options), key=str)
        if unknown:
            raise ValueError(
                f"`options` of {self.name} must be some of {sorted(self.options)}, but have {unknown[:3]!r}."
            )
        lacking = [option for option in self.required if option not in options]
        if lacking:
            raise ValueError(f"`options` of {self.name} must have {', '.join(lacking)}, but lack them.")
        for option, value in options.items():
            wanted, fits = self.options[option]
            if not fits(value):
                raise ValueError(f"`{option}` of {self.name} must be {wanted}, but is {repr(value)[:80]}.")

    def width(self, num_scores: int, options: Mapping[str, Any]) -> int:
        """Return how many scores each clip must have when it has ``num_scores``. Default: one a class, else any."""
        return len(options["classes"]) if "classes" in options else num_scores

    def wrong_labels(self, labels: Iterable[Any], options: Mapping[str, Any]) -> list[Any]:
        """Return the known labels that are of another kind. Default: none."""
        return []

    def intervals(self, labels: Sequence[Any], scores: np.ndarray) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals by metric where clips may not be drawn. Default: none."""
        return {}

    def only(self, options: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
        """Return options that compute the ``wanted`` metrics alone. Default: ``metric_names``, if any."""
        return dict(options) | ({"metric_names": list(wanted)} if "metric_names" in options else {})


def find_scorer(name: Any, *, trust_code: bool = False) -> Scorer:
    """Return the scorer of ``scores/<name>``, or that of the task that the dotted module ``name`` holds.

    Args:
        trust_code: the task's code may run.

    Raises:
        ValueError: no such scorer, or one that would run code.
    """
    names = configs.module_names("scores")
    if name in names:
        return configs.find_module("scores", name).SCORER
    dotted = isinstance(name, str) and "." in name and all(part.isidentifier() for part in name.split("."))
    if not dotted or not trust_code:
        message = f"`scorer` must be one of {', '.join(names)}, but is {repr(name)[:80]}"
        cure = "of a task outside the package. To let its code run, add --trust-code (in Python trust_code=True)"
        raise ValueError(f"{message}, {cure}." if dotted else f"{message}.")
    scorer = configs.find_module("tasks", name, trust_code=True).TASK.scorer
    if not isinstance(scorer, Scorer):
        raise ValueError(f"`scorer` must be that of a task with scores, but {name} has none.")
    return scorer


def decisions(
    labels: Sequence[Any], scores_BC: np.ndarray, classes: Sequence[str], *, open_vocabulary: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted class ids.

    Raises:
        ValueError: labels outside the classes, unless the vocabulary is open; then they are NO_CLASS, which is never
            predicted.
    """
    ids = {name: i for i, name in enumerate(classes)}
    unknown = sorted({class_name(v) for v in labels} - set(ids))
    if unknown and open_vocabulary:
        ids |= dict.fromkeys(unknown, NO_CLASS)
    elif unknown:
        raise ValueError(f"labels must be classes ({', '.join(classes)}), but some are {', '.join(unknown)}.")
    return np.array([ids[class_name(v)] for v in labels]), np.asarray(scores_BC).argmax(1)


def different_names(value: Any) -> bool:
    """Return whether a value from JSON is a list of different texts."""
    return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value) and len(set(value)) == len(value)


def names_of(known: Iterable[str]) -> Check:
    """Return the check for different names out of ``known``."""
    names = frozenset(known)
    return f"different names of {sorted(names)}", lambda v: different_names(v) and set(v) <= names


def whole_number(low: int, high: int) -> Check:
    """Return the check for a whole number from ``low`` to ``high``."""
    return f"a whole number from {low} to {high}", lambda v: type(v) is int and low <= v <= high


def is_number(value: Any) -> bool:
    """Return whether a value from JSON is a finite number (true and false are not)."""
    return type(value) in (int, float) and -1e300 < value < 1e300


CLASSES: Check = ("different names", lambda v: different_names(v) and len(v) > 0)
