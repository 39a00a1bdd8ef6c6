"""What a column asks of clips: targets for scikit-learn, and the one score by which candidates are chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sonolex import configs
from sonolex.data.manifest import Manifest
from sonolex.labels import NO_TAG, class_name, tags_of
from sonolex.tasks.base import Task, TaskConfig, build_task, task_type

QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
KINDS = {"classification": "classes", "tagging": "tags", "regression": "values"}


@dataclass(frozen=True)
class Question:
    """A task over one column of a table.

    Attributes:
        kind: classification, regression or tagging.
        config: of the task.
        labels: of every clip, in the table's order.
    """

    kind: str
    config: TaskConfig
    labels: tuple[Any, ...]

    @classmethod
    def of(cls, manifest: Manifest, kind: str, task: dict[str, Any]) -> Question:
        """Return the question that `sonolex.doors.fit.table.guess_task` found."""
        config = configs.from_json(task_type(kind).config_type, task, where="the task")
        if kind == "tagging":  # calibrated shares are decided at a half, which needs no clips to choose it on
            config = replace(config, tune_thresholds=False)  # type: ignore[call-arg]
        return cls(kind, config, tuple(manifest.column(str(task["label"]))))

    @property
    def name(self) -> str:
        """The task's name."""
        return self.config.name

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

    @cached_property
    def targets(self) -> np.ndarray:
        """Class ids (N,), tags as 0 and 1 (N, C), or standardised values (N,)."""
        if self.kind == "classification":
            ids = {name: i for i, name in enumerate(self.classes)}
            return np.array([ids[class_name(v)] for v in self.labels])
        if self.kind == "tagging":
            return np.array([[name in tags for name in self.classes] for tags in map(tags_of, self.labels)], float)
        values = np.array([float(v) for v in self.labels])
        return (values - self.config.centre) / self.config.spread  # type: ignore[attr-defined]

    @cached_property
    def strata(self) -> list[str]:
        """What every part should have its share of: classes, each clip's rarest tag, quarters of a number's clips."""
        if self.kind == "classification":
            return [class_name(v) for v in self.labels]
        if self.kind == "tagging":
            counts = Counter(name for v in self.labels for name in tags_of(v))
            return [min(tags_of(v), key=lambda n: counts[n], default=NO_TAG) for v in self.labels]
        quarter_N = np.searchsorted(np.quantile(self.targets, (0.25, 0.5, 0.75)), self.targets)
        return [QUARTERS[q] for q in quarter_N]

    @property
    def metric(self) -> str:
        """The metric by which candidates are chosen: the task's primary one."""
        return self.task.primary_metric

    @cached_property
    def _options(self) -> dict[str, Any]:
        assert self.task.scorer is not None
        return self.task.scorer.only(self.task.scorer_options(), [self.metric])

    def shares(self, outputs_NC: np.ndarray) -> np.ndarray:
        """Return the task's scores of a model's outputs: shares of classes or tags, or values in the label's unit."""
        if self.kind == "classification":
            powers = np.exp(outputs_NC - outputs_NC.max(1, keepdims=True))
            return powers / powers.sum(1, keepdims=True)
        if self.kind == "tagging":
            return 1 / (1 + np.exp(-np.clip(outputs_NC, -50, 50)))
        return outputs_NC * self.config.spread + self.config.centre  # type: ignore[attr-defined]

    def score(self, rows: Sequence[int] | np.ndarray, shares_NC: np.ndarray) -> float:
        """Return the primary metric of ``rows``, turned so that more is better; −inf where it is not defined."""
        assert self.task.scorer is not None
        found = self.task.scorer.score([self.labels[i] for i in rows], shares_NC, self._options)
        value = found.get(self.metric, -np.inf)
        return -value if self.task.prefers_less(self.metric) else value

    @cached_property
    def skew(self) -> float:
        """How many times as many clips the largest class has as the smallest; 1 without classes."""
        if self.kind != "classification":
            return 1.0
        counts = np.bincount(self.targets, minlength=self.num_outputs)
        return float(counts.max() / max(1, counts.min()))
