"""Task: batch to losses, scores and metrics. Model: one system and the tasks that are trained on it together."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sonolex import configs
from sonolex.floors import Parts
from sonolex.labels import class_name
from sonolex.names import require_name, spelled
from sonolex.nn.dropout import drawn_apart, number_dropouts, replace_dropout
from sonolex.scores.base import OURS, Scorer
from sonolex.systems.base import System, seeded_build
from sonolex.types import Batch, Encoding, Losses, Term

MISSING = -1  # class id of a clip without label


@dataclass(frozen=True)
class TaskConfig:
    """Base of every task's config, which is defined in the task's own module.

    Attributes:
        name: unique within a model; names its head, its loss and its scores. One line of text; it may be anything
            that a column is called.
        weight: of its loss in the total.
        label: the manifest's column. A kind with labels makes it a field; empty for a kind without.
        classes: names in the order of their ids. A kind with classes makes it a field; none for a kind without.
    """

    name: str
    weight: float = 1.0
    label: ClassVar[str] = ""
    classes: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        require_name("name", self.name)

    @property
    def kind(self) -> str:
        """Name that `task_type` resolves to the task: its module's, dotted if it is outside the package."""
        return type(self).__module__.removeprefix("sonolex.tasks.")

    def matched(self, labels: Mapping[str, Sequence[Any]]) -> TaskConfig:
        """Return the config completed from the training clips' labels by column. Default: unchanged."""
        return self

    def classes_in(self, value: Any) -> list[str]:
        """Return the classes that a known label names. Default: the label itself."""
        return [class_name(value)]

    def floors(self, parts: Parts) -> dict[str, np.ndarray]:
        """Return the scores that simple predictors give the report clips, by name, in the form of `Task.scores`.

        Default: none. (`sonolex.train.floors` measures the clips and caches the scores.)
        """
        return {}


class Task(nn.Module, abc.ABC):
    """One task with its head. Labels may be missing on some clips; those clips count for nothing."""

    config_type: ClassVar[type[TaskConfig]]
    needs_encoding: ClassVar[bool] = True
    """Whether its losses or scores read the system's encoding."""
    trained: ClassVar[bool] = True
    """False for a task that only observes: it has no loss and does not select checkpoints."""
    needs_alignment: ClassVar[bool] = False
    """Whether it compares vectors of audio with vectors of text, which few systems align."""
    scorer: ClassVar[Scorer | None] = None
    """Scorer of its scores (`sonolex.scores`, or the task's own); None for a task that scores by its loss."""
    primary_metric: ClassVar[str]
    """The metric that selects checkpoints, unless a run says otherwise."""
    config: TaskConfig

    @abc.abstractmethod
    def prepare(self, batch: Batch, system: System) -> Batch:
        """Return the batch with this task's targets and counts. Runs in a CPU worker."""

    @abc.abstractmethod
    def losses(self, system: System, batch: Batch, encoding: Encoding | None) -> dict[str, Term]:
        """Return the loss terms of a prepared batch."""

    def loss_terms(self, system: System) -> tuple[str, ...]:
        """Return the names of its loss terms. Default: its own name, once."""
        return (self.config.name,) if self.trained else ()

    def compares_clips(self, system: System) -> bool:
        """Return whether this task has losses over the whole effective batch (`rows`, `joint_losses`)."""
        return False

    def rows(self, system: System, batch: Batch) -> dict[str, Tensor]:
        """Return vectors (B, D) by name for losses over the whole effective batch. Default: none."""
        return {}

    def joint_losses(self, system: System, rows: Mapping[str, Tensor]) -> dict[str, Term]:
        """Return the loss terms of all `rows` of a step together."""
        return {}

    def scores(self, encoding: Encoding) -> Tensor | None:
        """Return the float32 scores (B, C) that `metrics` and `decide` read; None if its loss is its score."""
        return None

    def scorer_options(self) -> dict[str, Any]:
        """Return the keyword options of `scorer`, plain values that are saved with predictions."""
        return {}

    def metrics(
        self, labels: Sequence[Any], scores: np.ndarray, groups: Sequence[Any] | None = None
    ) -> dict[str, float]:
        """Return named metrics over clips whose label is known; ``groups`` are their speakers or recordings."""
        return self.scorer.score(labels, scores, self.scorer_options(), groups=groups) if self.scorer else {}

    @classmethod
    def prefers_less(cls, metric: str) -> bool:
        """Return whether a lower value of ``metric`` is better."""
        return metric == "loss" or (cls.scorer is not None and metric in cls.scorer.lower_is_better)

    def scorer_name(self) -> str:
        """Return the name that `sonolex.scores.base.find_scorer` resolves to the scorer: ours, or the task's module."""
        if self.scorer is None:
            return ""
        return self.scorer.name if type(self.scorer).__module__.startswith(OURS) else self.config.kind

    @property
    def unit(self) -> float:
        """Unit of its primary metric, so that several tasks weigh alike in the selection. Default: 1."""
        return 1.0

    @property
    def calibrates(self) -> bool:
        """Whether it chooses thresholds or the like on the selection part after training."""
        return False

    def calibrate(self, labels: Sequence[Any], scores: np.ndarray) -> None:
        """Choose them, from labels and scores of the selection part. They are saved with the model."""

    def pooled(self, scores_WC: np.ndarray) -> np.ndarray:
        """Return the scores (C,) of a recording that was read in windows: their mean, so that windows count alike."""
        return scores_WC.mean(0)

    def decide(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """Return one readable answer per clip."""
        return [{} for _ in scores]


class Observer(Task):
    """A task that only looks at a system's vectors: it has no head and no loss."""

    trained = False

    def __init__(self, config: TaskConfig, pooled_dim: int):
        super().__init__()
        self.config = config

    def prepare(self, batch: Batch, system: System) -> Batch:
        return batch

    def losses(self, system: System, batch: Batch, encoding: Encoding | None) -> dict[str, Term]:
        return {}


class Model(nn.Module):
    """A system and its tasks, which are trained, saved and used together.

    Raises:
        ValueError: two loss terms of one name, or a task that compares modalities which the system does not align.
    """

    def __init__(self, system: System, tasks: Mapping[str, Task]):
        super().__init__()
        self.system = system
        self.tasks = nn.ModuleDict({_module_name(name): task for name, task in tasks.items()})
        self._task_names = tuple(tasks)
        comparing = [name for name, task in tasks.items() if task.needs_alignment]
        if comparing and not system.aligns_modalities:
            raise ValueError(
                f"task {comparing[0]!r} must have vectors that are comparable across modalities, but {system.name} as "
                "it is configured offers none. Use a system that aligns them: CALM with pooled='aligned'."
            )
        terms = Counter(term for task in tasks.values() for term in task.loss_terms(system))
        self._require_one_name([term for term, count in terms.items() if count > 1])
        replace_dropout(self)
        number_dropouts(self)

    def task_items(self) -> list[tuple[str, Task]]:
        """Return (name, task) pairs, typed."""
        pairs = zip(self._task_names, self.tasks.values(), strict=True)
        return [(name, task) for name, task in pairs if isinstance(task, Task)]

    def prepare(self, batch: Batch) -> Batch:
        """Return the batch with everything the tasks' losses need and the counts they average over."""
        for _, task in self.task_items():
            batch = task.prepare(batch, self.system)
        if self._trains_on_encoding:
            penalties = self.system.penalty_counts(batch)
            self._require_one_name([name for name in penalties if name in batch.counts])
            batch = batch.adding(counts=penalties)
        return batch

    def _require_one_name(self, twice: Sequence[str]) -> None:
        if twice:
            raise ValueError(
                f"loss terms must have different names, but {self.system.name} and a task, or two tasks, have "
                f"{', '.join(twice)}. Name the task (its column) differently."
            )

    def forward(self, batch: Batch, row_gradients: Mapping[str, Tensor] | None = None) -> Losses:
        """Return all loss terms of a prepared batch; the batch is encoded once for all tasks.

        With ``row_gradients``, objectives over `rows` were computed elsewhere over more clips than these: their terms
        are left out and their gradient enters through the surrogate.
        """
        losses = self.separate_losses(batch)
        rows = self.rows(batch)
        if not rows:
            return losses
        if row_gradients is None:
            return Losses({**losses.terms, **self.joint_losses(rows)})
        pairs = [(rows[name], gradient) for name, gradient in row_gradients.items()]
        return Losses(losses.terms, torch.stack([(x.float() * g).sum() for x, g in pairs]).sum())

    def separate_losses(self, batch: Batch) -> Losses:
        """Return the loss terms of single clips."""
        encoding = None
        terms: dict[str, Term] = {}
        if self._trains_on_encoding:
            encoding = self.system.encode(batch)
            terms |= encoding.penalties
        for _, task in self.task_items():
            terms |= task.losses(self.system, batch, encoding)
        return Losses(terms)

    @property
    def compares_clips(self) -> bool:
        """True if some task has losses over the whole effective batch."""
        return any(task.compares_clips(self.system) for _, task in self.task_items())

    def rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return the vectors that objectives compare across clips, (B, D) by name; empty if there are none."""
        with drawn_apart("rows"):  # alone or after the other losses, they are the same
            return {n: x for _, task in self.task_items() for n, x in task.rows(self.system, batch).items()}

    def joint_losses(self, rows: Mapping[str, Tensor]) -> dict[str, Term]:
        """Return the terms of objectives over all `rows` of an effective batch."""
        return {n: t for _, task in self.task_items() for n, t in task.joint_losses(self.system, rows).items()}

    @property
    def _trains_on_encoding(self) -> bool:
        return any(task.needs_encoding and task.trained for _, task in self.task_items())

    @torch.inference_mode()
    def predict(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Return scores by task, (B, C), and the pooled vectors (B, D), in float32."""
        encoding = self.system.encode(batch)
        scores = {}
        for name, task in self.task_items():
            task_scores = task.scores(encoding)
            if task_scores is not None:
                scores[name] = task_scores.float()
        return scores, encoding.pooled_BD.float()


def build_task(config: TaskConfig, pooled_dim: int, *, seed: int = 0) -> Task:
    """Return the task of ``config`` with a random head that depends only on config and seed.

    The config's class belongs to the task's module, so its code is imported already.
    """
    with seeded_build(seed):
        return task_type(config.kind, trust_code=True)(config, pooled_dim)  # type: ignore[call-arg]


def _module_name(name: str) -> str:
    """Return a task's name among the parameters: unchanged wherever torch allows it."""
    module = spelled(name)
    taken = hasattr(nn.ModuleDict(), module)  # "type", "items", "train": torch refuses them
    return f"{module}%" if taken else module


def task_type(kind: str, *, trust_code: bool = False) -> type[Task]:
    """Return the task class of module ``tasks/<kind>``, or of the user's own module: see `find_module`."""
    return configs.find_module("tasks", kind, trust_code=trust_code).TASK
