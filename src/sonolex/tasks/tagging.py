"""Any number of labels per clip: linear head, binary cross-entropy, average precision and areas under the ROC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sonolex import metrics
from sonolex.floors import Parts
from sonolex.labels import NO_TAG, TAG_SEPARATOR, tags_of
from sonolex.nn.heads import ClassHead
from sonolex.scores.tagging import SCORER
from sonolex.systems.base import System
from sonolex.tasks.base import Task, TaskConfig
from sonolex.types import Batch, Encoding, Term


@dataclass(frozen=True)
class TaggingConfig(TaskConfig):
    """Any number of the classes per clip.

    Attributes:
        label: the manifest's column: names joined by ";", an empty cell for a clip with no label known, "none" for one
            that is known to have no tag.
        classes: names in the order of their ids.
        metric_names: of `sonolex.metrics.TAGGING`, each given for every threshold policy (`sonolex.scores.tagging`).
        tune_thresholds: choose a threshold for each class on the selection part, with `metrics.best_thresholds`; they
            are saved with the model and decide its answers. Otherwise 0.5.
        norm, hidden, dropout: of the head, as in classification.
    """

    label: str = "tags"
    classes: tuple[str, ...] = ()
    metric_names: tuple[str, ...] = ()
    tune_thresholds: bool = False
    norm: str = "none"
    hidden: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"`classes` must be different names, at least one, but is {self.classes}.")
        wrong = [c for c in self.classes if tags_of(c) != [c]]
        if wrong:
            raise ValueError(f"`classes` must not hold {TAG_SEPARATOR!r} or be {NO_TAG!r}, but has {wrong}.")
        unknown = sorted(set(self.metric_names) - set(metrics.TAGGING))
        if unknown:
            raise ValueError(f"`metric_names` must be some of {', '.join(metrics.TAGGING)}, but has {unknown}.")

    def classes_in(self, value: Any) -> list[str]:
        return tags_of(value)

    def floors(self, parts: Parts) -> dict[str, np.ndarray]:
        """Return each class's share of the training clips, and one SVM per class, whose threshold is 0.5."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        x, labels = parts["train"].known("mfcc")
        tags = [set(tags_of(v)) for v in labels]
        shares, answers = [], []
        for name in self.classes:
            yes = np.array([name in t for t in tags])
            shares.append(np.full(len(parts["report"]), yes.mean()))
            if yes.all() or not yes.any():
                answers.append(shares[-1])
                continue
            svm = make_pipeline(StandardScaler(), SVC(class_weight="balanced")).fit(x, yes)
            answers.append(1 / (1 + np.exp(-svm.decision_function(parts["report"].statistics["mfcc"]))))
        return {"majority": np.stack(shares, 1), "mfcc_svm": np.stack(answers, 1)}


class Tagging(Task):
    """Head, loss, scores (sigmoid probabilities) and metrics of multi-label classification."""

    config_type = TaggingConfig
    scorer = SCORER
    primary_metric = "map"
    config: TaggingConfig
    thresholds_C: Tensor

    def __init__(self, config: TaggingConfig, pooled_dim: int):
        super().__init__()
        self.config = config
        self.head = ClassHead(
            pooled_dim, len(config.classes), norm=config.norm, hidden=config.hidden, dropout=config.dropout
        )
        self._ids = {name: i for i, name in enumerate(config.classes)}
        self.register_buffer("thresholds_C", torch.full((len(config.classes),), 0.5))

    def prepare(self, batch: Batch, system: System) -> Batch:
        values = batch.labels.get(self.config.label, (None,) * len(batch))
        targets_BC = torch.stack([self.row(v, c) for v, c in zip(values, batch.clip_ids, strict=True)])
        if batch.own_shares:
            other_values = batch.other_labels.get(self.config.label, (None,) * len(batch))
            other_BC = torch.stack([self.row(v, c) for v, c in zip(other_values, batch.clip_ids, strict=True)])
            share_B1 = torch.tensor(batch.own_shares)[:, None]
            mixed_BC = share_B1 * targets_BC + (1 - share_B1) * other_BC
            targets_BC = torch.where(other_BC.isnan(), targets_BC, mixed_BC)
        count = float((~targets_BC.isnan()).sum())
        return batch.adding(targets={self.config.name: targets_BC}, counts={self.config.name: count})

    def losses(self, system: System, batch: Batch, encoding: Encoding | None) -> dict[str, Term]:
        assert encoding is not None
        targets_BC = batch.targets[self.config.name]
        logits_BC, known_BC = self.head(encoding.pooled_BD).float(), ~targets_BC.isnan()
        losses_BC = F.binary_cross_entropy_with_logits(logits_BC, targets_BC.nan_to_num(), reduction="none")
        loss = (losses_BC * known_BC).sum()
        return {self.config.name: Term(loss, batch.counts[self.config.name], self.config.weight)}

    def scores(self, encoding: Encoding) -> Tensor:
        return torch.sigmoid(self.head(encoding.pooled_BD).float())

    def scorer_options(self) -> dict[str, Any]:
        c = self.config
        options: dict[str, Any] = {"classes": list(c.classes), "metric_names": list(c.metric_names)}
        return options | ({"thresholds": self.thresholds_C.tolist()} if c.tune_thresholds else {})

    @property
    def calibrates(self) -> bool:
        return self.config.tune_thresholds

    def calibrate(self, labels: Sequence[Any], scores: np.ndarray) -> None:
        known = [i for i, v in enumerate(labels) if v is not None]
        true_BC = np.array([[float(c in tags_of(labels[i])) for c in self.config.classes] for i in known])
        scores_BC = np.asarray(scores)[known]
        if not np.isfinite(scores_BC).all():
            raise ValueError(f"scores of task {self.config.name!r} on the selection part must be finite, but are not.")
        self.thresholds_C.copy_(torch.from_numpy(metrics.best_thresholds(true_BC, scores_BC)))

    def decide(self, scores: np.ndarray) -> list[dict[str, Any]]:
        answers = []
        thresholds_C = self.thresholds_C.tolist()
        for row in scores:
            order = np.argsort(-row, kind="stable")
            present = [self.config.classes[i] for i in order if row[i] >= thresholds_C[i]]
            answers.append({"labels": present, "scores": {self.config.classes[i]: float(row[i]) for i in order}})
        return answers

    def row(self, value: Any, clip_id: str) -> Tensor:
        """Return a label as zeros and ones (C,), NaN where unknown. Raises ValueError for a tag that is no class."""
        if value is None:
            return torch.full((len(self.config.classes),), float("nan"))
        target_C = torch.zeros(len(self.config.classes))
        names = tags_of(value)
        unknown = [n for n in names if n not in self._ids]
        if unknown:
            raise ValueError(
                f"`{self.config.label}` must hold classes of task {self.config.name!r}, but holds {unknown} "
                f"(clip {clip_id!r}). Correct the manifest or add the class."
            )
        target_C[[self._ids[n] for n in names]] = 1.0
        return target_C


TASK = Tagging
