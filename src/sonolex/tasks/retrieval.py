"""Find the words of a recording among all words, and the recordings of words among all recordings. Nothing is trained.

Reads a system's aligned vectors (`Encoding.aligned`) of clips that have both modalities. Clips with the same value of
``label`` are right answers to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sonolex.floors import MOST_WORDS, Parts, svm_classes
from sonolex.labels import class_name
from sonolex.scores.retrieval import SCORER
from sonolex.tasks.base import Observer, TaskConfig
from sonolex.types import MODALITIES, Encoding


@dataclass(frozen=True)
class RetrievalConfig(TaskConfig):
    """Which clips have the same words.

    Attributes:
        label: the manifest's column; by default the transcript.
    """

    label: str = "text"

    def floors(self, parts: Parts) -> dict[str, np.ndarray]:
        """Return a classifier of the training labels as a search: its answer, and the clip's label, as unit vectors."""
        names = parts["train"].names
        if len(names) > MOST_WORDS:
            return {}
        answers_BC = svm_classes(parts, names, "mfcc")
        labels = [class_name(v) for v in parts["report"].labels]
        own_BC = np.array([[float(name == label) for name in names] for label in labels])
        return {"mfcc_svm": np.concatenate([answers_BC, own_BC], 1)}


class Retrieval(Observer):
    """Scores are the clip's audio vector and its text vector, side by side; zeros for one it lacks."""

    config_type = RetrievalConfig
    needs_alignment = True
    scorer = SCORER
    primary_metric = "audio_to_text_recall_at_1"
    config: RetrievalConfig

    def scores(self, encoding: Encoding) -> Tensor:
        absent_BD = torch.zeros_like(next(iter(encoding.aligned.values())))
        return torch.cat([encoding.aligned.get(m, absent_BD) for m in MODALITIES], 1).float()


TASK = Retrieval
