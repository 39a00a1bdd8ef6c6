"""One class per clip: linear head, cross-entropy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sonolex import metrics
from sonolex.configs import one_of
from sonolex.floors import Parts, majority, svm_classes
from sonolex.labels import class_name
from sonolex.nn.heads import ClassHead
from sonolex.places import places_where
from sonolex.scores import classification as scores
from sonolex.systems.base import System
from sonolex.tasks.base import MISSING, Task, TaskConfig
from sonolex.types import Batch, Encoding, Term

_KNOWN, _OTHER, _SHARE = "\nknown", "\nother", "\nshare"  # further targets; a line feed, which no task's name holds


@dataclass(frozen=True)
class ClassificationConfig(TaskConfig):
    """One class per clip.

    Attributes:
        label: the manifest's column.
        classes: names in the order of their ids; a label that is none of them is an error, a missing one is not. A
            protocol may leave them open (it only scores); a run must name them.
        norm: "layer" normalises the pooled vector before the head (AST, SSAST); "none" (CTAL).
        single_logit: two classes share one logit, that of the second one (SpectroBERT's yes or no).
        open_vocabulary: a label that is no class is not an error: no training clip counts it, and it is wrong in
            evaluation whatever is predicted (open questions, whose classes are the answers of the training part).
        hidden: width of a hidden layer in the head; 0 for none (CTAL: "one additional output layer").
        dropout: before the head.
        class_weights: one per class, for imbalanced data; empty for none.
        imbalance: treatment of rare classes: "none", "weighted" (the loss of a class counts N / (C · its clips))
            or "adjusted" (training adds the log of each class's share to its logit, so that the model itself need not;
            Menon et al. 2021). Counts are those of the training clips, kept in ``class_counts``.
        metric_names: of `sonolex.scores.classification.METRICS`, to report.
    """

    label: str = "label"
    classes: tuple[str, ...] = ()
    norm: str = "none"
    single_logit: bool = False
    open_vocabulary: bool = False
    hidden: int = 0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    imbalance: str = "none"
    class_counts: tuple[int, ...] = ()
    metric_names: tuple[str, ...] = tuple(metrics.CLASSIFICATION)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.classes)) != len(self.classes) or len(self.classes) == 1:
            raise ValueError(
                f"`classes` must be at least two different names (or left to the run), but is {self.classes}."
            )
        if self.open_vocabulary and set(self.metric_names) - {"accuracy", *scores.TOP}:
            raise ValueError(f"`metric_names` with an open vocabulary must be accuracy or {', '.join(scores.TOP)}.")
        if self.single_logit and (len(self.classes) != 2 or self.label_smoothing):
            raise ValueError("`single_logit` needs two classes and no label smoothing.")
        unknown = set(self.metric_names) - set(scores.METRICS)
        if unknown:
            raise ValueError(f"`metric_names` must be metrics of one class per clip, but has {sorted(unknown)}.")
        one_of("imbalance", self.imbalance, ("none", "weighted", "adjusted"))
        if self.imbalance != "none" and (self.class_weights or self.single_logit or self.open_vocabulary):
            raise ValueError(
                "`imbalance` must be 'none' with class_weights, a single logit or an open vocabulary, but is not."
            )
        if self.class_weights and len(self.class_weights) != len(self.classes):
            raise ValueError(
                f"`class_weights` must have {len(self.classes)} values, but has {len(self.class_weights)}."
            )

    def matched(self, labels: Mapping[str, Sequence[Any]]) -> ClassificationConfig:
        if self.imbalance == "none" or self.class_counts:
            return self
        counts = Counter(class_name(v) for v in labels.get(self.label, ()) if v is not None)
        absent = [c for c in self.classes if not counts[c]]
        if absent:
            raise ValueError(
                f"every class of {self.name!r} must have training clips for imbalance={self.imbalance!r}, but "
                f"{', '.join(absent)} have none."
            )
        return replace(self, class_counts=tuple(counts[c] for c in self.classes))

    def floors(self, parts: Parts) -> dict[str, np.ndarray]:
        """Return the largest class, and SVMs on statistics of MFCCs and of log-mel."""
        classes = self.classes or parts["train"].names
        floors = {"majority": majority(parts, classes)}
        return floors | {f"{name}_svm": svm_classes(parts, classes, name) for name in ("mfcc", "log_mel")}


class Classification(Task):
    """Head, loss, scores (softmax probabilities) and metrics of single-label classification."""

    config_type = ClassificationConfig
    scorer = scores.SCORER
    primary_metric = "balanced_accuracy"
    config: ClassificationConfig

    def __init__(self, config: ClassificationConfig, pooled_dim: int):
        super().__init__()
        if not config.classes:
            raise ValueError(f"`classes` of task {config.name!r} must be named by the run, but are none.")
        self.config = config
        self.head = ClassHead(
            pooled_dim,
            1 if config.single_logit else len(config.classes),
            norm=config.norm,
            hidden=config.hidden,
            dropout=config.dropout,
        )
        self._ids = {name: i for i, name in enumerate(config.classes)}
        weights_C, shift_C = torch.tensor(config.class_weights or [1.0] * len(config.classes)), None
        counts = torch.tensor(config.class_counts, dtype=torch.float32)
        if config.imbalance != "none" and not len(counts):
            raise ValueError(f"`class_counts` of task {config.name!r} must be known for its imbalance, but are not.")
        if config.imbalance == "weighted":
            weights_C = counts.sum() / (len(counts) * counts)
        elif config.imbalance == "adjusted":
            shift_C = torch.log(counts / counts.sum())
        self._weights = weights_C  # for counts, which are made on the CPU
        weighs = bool(config.class_weights) or config.imbalance == "weighted"
        self.weight_C: Tensor | None
        self.shift_C: Tensor | None
        self.register_buffer("weight_C", weights_C.clone() if weighs else None, persistent=False)
        self.register_buffer("shift_C", shift_C, persistent=False)

    def prepare(self, batch: Batch, system: System) -> Batch:
        values = batch.labels.get(self.config.label, (None,) * len(batch))
        ids_B = torch.tensor([self.class_id(v, clip) for v, clip in zip(values, batch.clip_ids, strict=True)])
        known_B = ids_B != MISSING
        count = float(self._weights[ids_B[known_B]].sum())
        targets = {self.config.name: ids_B, f"{self.config.name}{_KNOWN}": places_where(known_B)}
        if batch.own_shares:
            other_values = batch.other_labels.get(self.config.label, (None,) * len(batch))
            other_B = torch.tensor([self.class_id(v, c) for v, c in zip(other_values, batch.clip_ids, strict=True)])
            targets[f"{self.config.name}{_OTHER}"] = torch.where(other_B == MISSING, ids_B, other_B)
            targets[f"{self.config.name}{_SHARE}"] = torch.tensor(batch.own_shares)
        return batch.adding(targets=targets, counts={self.config.name: count})

    def losses(self, system: System, batch: Batch, encoding: Encoding | None) -> dict[str, Term]:
        assert encoding is not None
        ids_B = batch.targets[self.config.name]
        logits_BC = self._logits(encoding)
        losses_B = self._losses(logits_BC, ids_B)
        share_B = batch.targets.get(f"{self.config.name}{_SHARE}")
        if share_B is not None:  # cross-entropy with a mixture of labels is the mixture of cross-entropies
            other_B = self._losses(logits_BC, batch.targets[f"{self.config.name}{_OTHER}"])
            losses_B = share_B * losses_B + (1 - share_B) * other_B
        known_N = batch.targets[f"{self.config.name}{_KNOWN}"]
        return {
            self.config.name: Term(
                losses_B.index_select(0, known_N).sum(), batch.counts[self.config.name], self.config.weight
            )
        }

    def scores(self, encoding: Encoding) -> Tensor:
        return torch.softmax(self._logits(encoding), -1)

    def scorer_options(self) -> dict[str, Any]:
        c = self.config
        options = {"classes": list(c.classes), "metric_names": list(c.metric_names)}
        return options | ({"open_vocabulary": True} if c.open_vocabulary else {})

    def decide(self, scores: np.ndarray) -> list[dict[str, Any]]:
        answers = []
        for row in scores:
            order = np.argsort(-row, kind="stable")
            answers.append(
                {
                    "label": self.config.classes[order[0]],
                    "score": float(row[order[0]]),
                    "scores": {self.config.classes[i]: float(row[i]) for i in order},
                }
            )
        return answers

    def class_id(self, value: Any, clip_id: str) -> int:
        """Return the id of a label, `MISSING` for None. Raises ValueError for no class of a closed vocabulary."""
        if value is None:
            return MISSING
        name = class_name(value)
        if name not in self._ids and self.config.open_vocabulary:
            return MISSING
        if name not in self._ids:
            raise ValueError(
                f"`{self.config.label}` must be one of {', '.join(self.config.classes)}, but is {value!r} "
                f"(clip {clip_id!r}). Correct the manifest or add the class."
            )
        return self._ids[name]

    def _logits(self, encoding: Encoding) -> Tensor:
        """Return (B, C) in float32. A single logit is that of the second class against 0 for the first."""
        logits_BC = self.head(encoding.pooled_BD).float()
        return torch.cat([torch.zeros_like(logits_BC), logits_BC], -1) if self.config.single_logit else logits_BC

    def _losses(self, logits_BC: Tensor, ids_B: Tensor) -> Tensor:
        """Return each clip's cross-entropy (B,); 0 where the label is missing."""
        logits_BC = logits_BC if self.shift_C is None else logits_BC + self.shift_C
        options = {"ignore_index": MISSING, "label_smoothing": self.config.label_smoothing}
        return F.cross_entropy(logits_BC, ids_B, weight=self.weight_C, reduction="none", **options)


TASK = Classification
