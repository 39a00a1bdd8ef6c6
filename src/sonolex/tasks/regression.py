"""One number per clip: linear head, L1 loss (CTAL on MOSEI, section 4.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonolex import metrics
from sonolex.floors import Parts
from sonolex.nn.heads import ClassHead
from sonolex.objectives.masked import l1_sum
from sonolex.scores.regression import SCORER
from sonolex.systems.base import System
from sonolex.tasks.base import Task, TaskConfig
from sonolex.types import Batch, Encoding, Term


@dataclass(frozen=True)
class RegressionConfig(TaskConfig):
    """One number per clip.

    Attributes:
        label: the manifest's column.
        centre, spread: the head predicts (value − centre) / spread; mean and deviation of the training labels.
        metric_names: which of `sonolex.metrics.REGRESSION` to report.
    """

    label: str = "value"
    centre: float = 0.0
    spread: float = 1.0
    hidden: int = 0
    dropout: float = 0.0
    metric_names: tuple[str, ...] = ("mae", "ccc", "pearson")

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = set(self.metric_names) - set(metrics.REGRESSION)
        if unknown:
            raise ValueError(f"`metric_names` must be some of {sorted(metrics.REGRESSION)}, but has {sorted(unknown)}.")
        if not self.spread > 0:
            raise ValueError(f"`spread` must be positive, but is {self.spread}.")

    def floors(self, parts: Parts) -> dict[str, np.ndarray]:
        """Return the training clips' median, and an SVM on statistics of MFCCs."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVR

        x, labels = parts["train"].known("mfcc")
        values = np.array([float(v) for v in labels])
        svm = make_pipeline(StandardScaler(), SVR()).fit(x, values)
        median = np.full((len(parts["report"]), 1), np.median(values))
        return {"median": median, "mfcc_svm": svm.predict(parts["report"].statistics["mfcc"])[:, None]}


class Regression(Task):
    """Head, loss, scores (values in the label's unit) and metrics of regression."""

    config_type = RegressionConfig
    scorer = SCORER
    primary_metric = "mae"
    config: RegressionConfig

    def __init__(self, config: RegressionConfig, pooled_dim: int):
        super().__init__()
        self.config = config
        self.head = ClassHead(pooled_dim, 1, hidden=config.hidden, dropout=config.dropout)

    def prepare(self, batch: Batch, system: System) -> Batch:
        values = batch.labels.get(self.config.label, (None,) * len(batch))
        targets_B = torch.tensor([self.value(v, c) for v, c in zip(values, batch.clip_ids, strict=True)])
        count = float((~targets_B.isnan()).sum())
        return batch.adding(targets={self.config.name: targets_B}, counts={self.config.name: count})

    def losses(self, system: System, batch: Batch, encoding: Encoding | None) -> dict[str, Term]:
        assert encoding is not None
        targets_B = batch.targets[self.config.name]
        values_B = self._values(encoding)
        loss = l1_sum(values_B, torch.where(targets_B.isnan(), values_B, targets_B)) / self.config.spread
        return {self.config.name: Term(loss, batch.counts[self.config.name], self.config.weight)}

    @property
    def unit(self) -> float:
        return self.config.spread

    def scores(self, encoding: Encoding) -> Tensor:
        return self._values(encoding)[:, None]

    def scorer_options(self) -> dict[str, Any]:
        return {"metric_names": list(self.config.metric_names)}

    def decide(self, scores: np.ndarray) -> list[dict[str, Any]]:
        return [{"value": float(row[0])} for row in scores]

    def value(self, label: Any, clip_id: str) -> float:
        """Return a label as a number, NaN for None. Raises ValueError for anything that is no number."""
        if label is None:
            return float("nan")
        try:
            number = float(label)
        except (TypeError, ValueError):
            number = float("nan")
        if not np.isfinite(number):
            raise ValueError(
                f"`{self.config.label}` must be a finite number, but is {label!r} (clip {clip_id!r}). "
                "Correct the manifest, or leave the cell empty."
            )
        return number

    def _values(self, encoding: Encoding) -> Tensor:
        return self.head(encoding.pooled_BD)[:, 0].float() * self.config.spread + self.config.centre


TASK = Regression
