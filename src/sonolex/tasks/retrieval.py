"""Find the words of a recording among all words, and the recordings of words among all recordings. Nothing is trained.

Reads what a system aligned (`Encoding.aligned`), of clips that have both modalities. Clips with the same value of
``label`` are right answers to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sonolex.tasks.base import Observer, TaskConfig
from sonolex.types import MODALITIES, Encoding


@dataclass(frozen=True)
class RetrievalConfig(TaskConfig):
    """Which clips say the same.

    Attributes:
        label: the manifest's column; by default the transcript.
    """

    kind = "retrieval"
    label: str = "text"


class Retrieval(Observer):
    """Scores are the clip's audio vector and its text vector, side by side; zeros for one it lacks."""

    config_type = RetrievalConfig
    needs_alignment = True
    scorer = "retrieval"
    primary_metric = "audio_to_text_recall_at_1"
    config: RetrievalConfig

    def scores(self, encoding: Encoding) -> Tensor:
        absent_BD = torch.zeros_like(next(iter(encoding.aligned.values())))
        return torch.cat([encoding.aligned.get(m, absent_BD) for m in MODALITIES], 1).float()


TASK = Retrieval
