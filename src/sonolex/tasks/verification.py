"""Is this the same speaker? Trained as speaker classification, scored by the cosine of pooled vectors.

CTAL section 4.2.3: a classifier over the training speakers; at test time "the representation before classifier" is the
embedding and cosine the score of a trial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.floors import Parts
from sonolex.labels import class_name
from sonolex.scores.verification import SCORER
from sonolex.systems.base import System
from sonolex.tasks.base import MISSING, Task, TaskConfig
from sonolex.types import Batch, Encoding, Term


@dataclass(frozen=True)
class VerificationConfig(TaskConfig):
    """Speaker verification.

    Attributes:
        label: the manifest's column of speakers.
        classes: the training speakers; clips of other speakers have no loss. A protocol may leave them open (it only
            scores); a run must name them.
        scale: logits are ``scale`` · cosine(embedding, speaker), so that training and scoring measure the same thing;
            0 uses a plain linear classifier, as published.
        embedding_dim: length of a learned projection that is compared instead of the pooled vector; 0 compares the
            pooled vector itself, as published.
    """

    label: str = "speaker"
    classes: tuple[str, ...] = ()
    scale: float = 0.0
    embedding_dim: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"`classes` must be different speakers, but is {self.classes}.")

    def floors(self, parts: Parts) -> dict[str, np.ndarray]:
        """Return means and deviations of MFCCs, standardised, whose cosine scores a pair; once without the level."""
        train, report = (parts[name].statistics["mfcc"] for name in ("train", "report"))
        centre, spread = train.mean(0), train.std(0) + 1e-9
        embeddings_BD = ((report - centre) / spread)[:, : train.shape[1] // 2]
        # The first MFCC's mean is the level of the clip.
        return {"mfcc_cosine": embeddings_BD, "mfcc_cosine_level_removed": np.delete(embeddings_BD, 0, axis=1)}


class Verification(Task):
    """Head over training speakers; scores are unit embeddings; metrics over all pairs of clips."""

    config_type = VerificationConfig
    scorer = SCORER
    primary_metric = "eer"
    config: VerificationConfig

    def __init__(self, config: VerificationConfig, pooled_dim: int):
        super().__init__()
        if len(config.classes) < 2:
            raise ValueError(f"`classes` of task {config.name!r} must be at least two training speakers.")
        self.config = config
        dim = config.embedding_dim or pooled_dim
        self.project = nn.Linear(pooled_dim, dim) if config.embedding_dim else None
        self.head = nn.Linear(dim, len(config.classes), bias=config.scale == 0)
        self._ids = {name: i for i, name in enumerate(config.classes)}

    def prepare(self, batch: Batch, system: System) -> Batch:
        values = batch.labels.get(self.config.label, (None,) * len(batch))
        ids_B = torch.tensor([self._ids.get(class_name(v), MISSING) for v in values])
        count = float((ids_B != MISSING).sum())
        return batch.adding(targets={self.config.name: ids_B}, counts={self.config.name: count})

    def losses(self, system: System, batch: Batch, encoding: Encoding | None) -> dict[str, Term]:
        assert encoding is not None
        ids_B = batch.targets[self.config.name]
        embedding_BD = self._embedding(encoding)
        if self.config.scale:
            logits_BC = self.config.scale * F.linear(F.normalize(embedding_BD), F.normalize(self.head.weight))
        else:
            logits_BC = self.head(embedding_BD)
        loss = F.cross_entropy(logits_BC.float(), ids_B, reduction="sum", ignore_index=MISSING)
        return {self.config.name: Term(loss, batch.counts[self.config.name], self.config.weight)}

    def scores(self, encoding: Encoding) -> Tensor:
        return F.normalize(self._embedding(encoding).float(), dim=-1)

    def pooled(self, scores_WC: np.ndarray) -> np.ndarray:
        """Return the direction of the windows' mean: a unit vector, as that of a clip is."""
        mean_C = scores_WC.mean(0)
        return mean_C / max(float(np.linalg.norm(mean_C)), 1e-12)

    def decide(self, scores: np.ndarray) -> list[dict[str, Any]]:
        return [{"embedding": row.tolist()} for row in scores]

    def _embedding(self, encoding: Encoding) -> Tensor:
        return encoding.pooled_BD if self.project is None else self.project(encoding.pooled_BD)


TASK = Verification
