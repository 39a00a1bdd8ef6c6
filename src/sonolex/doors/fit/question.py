"""A label column as a question: targets for scikit-learn, and the one score by which candidates are chosen."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from sonolex import configs
from sonolex.data.manifest import Manifest
from sonolex.labels import NO_TAG, class_name, tags_of
from sonolex.tasks.base import Task, TaskConfig, build_task, task_type
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.regression import RegressionConfig
from sonolex.tasks.tagging import TaggingConfig

QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
LEAST_SHARE = 1e-3  # that a constant gives a tag which no training clip has
ABSENT = -600.0  # the output of a class that no training clip has, before the smallest scale of calibration


def question_of(manifest: Manifest, kind: str, task: dict[str, Any]) -> Question:
    """Return the question of a kind and settings, as from `sonolex.doors.fit.tasks.guess_task`."""
    config = configs.from_json(task_type(kind).config_type, task, where="the task")
    labels = tuple(manifest.column(str(task["label"])))
    if isinstance(config, ClassificationConfig):
        return ClassQuestion(config, labels)
    if isinstance(
        config, TaggingConfig
    ):  # calibrated shares are decided at a half, which needs no clips to choose it on
        return TagQuestion(replace(config, tune_thresholds=False), labels)
    assert isinstance(config, RegressionConfig)
    return NumberQuestion(config, labels)


@dataclass(frozen=True)
class Question(abc.ABC):
    """A task over one column of a table.

    Attributes:
        config: of the task.
        labels: of every clip, in the table's order.
    """

    config: TaskConfig
    labels: tuple[Any, ...]
    answers: ClassVar[str]
    """The kind of answer: "classes", "tags" or "values"."""
    constant_name: ClassVar[str] = "majority"
    """Name of the model that gives every clip the same answer."""

    @property
    @abc.abstractmethod
    def targets(self) -> np.ndarray:
        """Class ids (N,), tags as 0 and 1 (N, C), or standardised values (N,)."""

    @property
    @abc.abstractmethod
    def strata(self) -> list[str]:
        """The stratum of every clip; every part of the table should get its share of each stratum."""

    @abc.abstractmethod
    def shares(self, outputs_NC: np.ndarray) -> np.ndarray:
        """Return a model's outputs as the task's scores: shares of classes or tags, or values in the label's unit."""

    @abc.abstractmethod
    def constant(self, rows: np.ndarray) -> np.ndarray:
        """Return the outputs (C,) that suit these clips best if all get the same answer."""

    @abc.abstractmethod
    def surprise(self, rows: np.ndarray, shares_NC: np.ndarray) -> float | None:
        """Return the mean negative log-likelihood of shares between 0 and 1; None for values, which have none."""

    @property
    def name(self) -> str:
        """The task's name."""
        return self.config.name

    @property
    def kind(self) -> str:
        """The task's kind."""
        return self.config.kind

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes or tags; none of a regression."""
        return self.config.classes

    @property
    def num_outputs(self) -> int:
        """Classes, tags, or 1."""
        return len(self.classes) or 1

    @cached_property
    def task(self) -> Task:
        """The task itself, for its metrics; its head is never used."""
        return build_task(self.config, 1)

    @property
    def metric(self) -> str:
        """The metric by which candidates are chosen: the task's primary one."""
        return self.task.primary_metric

    @property
    def skew(self) -> float:
        """Size of the largest class relative to the smallest; 1 if clips do not have one class each."""
        return 1.0

    @cached_property
    def _options(self) -> dict[str, Any]:
        assert self.task.scorer is not None
        return self.task.scorer.only(self.task.scorer_options(), [self.metric])

    def score(self, rows: Sequence[int] | np.ndarray, shares_NC: np.ndarray) -> float:
        """Return the primary metric of ``rows``, turned so that more is better; −inf where it is not defined."""
        assert self.task.scorer is not None
        scores = self.task.scorer.score([self.labels[i] for i in rows], shares_NC, self._options)
        value = scores.get(self.metric, -np.inf)
        return -value if self.task.prefers_less(self.metric) else value


class ClassQuestion(Question):
    """One class per clip."""

    answers = "classes"

    @cached_property
    def targets(self) -> np.ndarray:
        ids = {name: i for i, name in enumerate(self.classes)}
        return np.array([ids[class_name(v)] for v in self.labels])

    @property
    def strata(self) -> list[str]:
        """The classes."""
        return [class_name(v) for v in self.labels]

    def shares(self, outputs_NC: np.ndarray) -> np.ndarray:
        powers = np.exp(outputs_NC - outputs_NC.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def constant(self, rows: np.ndarray) -> np.ndarray:
        counts = np.bincount(self.targets[rows], minlength=self.num_outputs)
        return np.where(counts > 0, np.log(np.maximum(counts, 1) / max(1, counts.sum())), ABSENT)

    def surprise(self, rows: np.ndarray, shares_NC: np.ndarray) -> float | None:
        return -np.log(shares_NC[np.arange(len(rows)), self.targets[rows]]).mean()

    @cached_property
    def skew(self) -> float:
        counts = np.bincount(self.targets, minlength=self.num_outputs)
        return float(counts.max() / max(1, counts.min()))


class TagQuestion(Question):
    """Any number of tags per clip."""

    answers = "tags"

    @cached_property
    def targets(self) -> np.ndarray:
        return np.array([[name in tags for name in self.classes] for tags in map(tags_of, self.labels)], float)

    @property
    def strata(self) -> list[str]:
        """Each clip's rarest tag."""
        counts = Counter(name for v in self.labels for name in tags_of(v))
        return [min(tags_of(v), key=lambda n: counts[n], default=NO_TAG) for v in self.labels]

    def shares(self, outputs_NC: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(outputs_NC, -50, 50)))

    def constant(self, rows: np.ndarray) -> np.ndarray:
        shares = np.clip(self.targets[rows].mean(0), LEAST_SHARE, 1 - LEAST_SHARE)
        return np.log(shares / (1 - shares))

    def surprise(self, rows: np.ndarray, shares_NC: np.ndarray) -> float | None:
        targets = self.targets[rows]
        return -(targets * np.log(shares_NC) + (1 - targets) * np.log(1 - shares_NC)).mean()


class NumberQuestion(Question):
    """One number per clip."""

    config: RegressionConfig
    answers = "values"
    constant_name = "median"

    @cached_property
    def targets(self) -> np.ndarray:
        values = np.array([float(v) for v in self.labels])
        return (values - self.config.centre) / self.config.spread

    @property
    def strata(self) -> list[str]:
        """Quarters of the clips by their number."""
        quarter_N = np.searchsorted(np.quantile(self.targets, (0.25, 0.5, 0.75)), self.targets)
        return [QUARTERS[q] for q in quarter_N]

    def shares(self, outputs_NC: np.ndarray) -> np.ndarray:
        return outputs_NC * self.config.spread + self.config.centre

    def constant(self, rows: np.ndarray) -> np.ndarray:
        return np.array([np.median(self.targets[rows])])

    def surprise(self, rows: np.ndarray, shares_NC: np.ndarray) -> float | None:
        return None
