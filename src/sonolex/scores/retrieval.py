"""Find the words of a recording among all words, and back: recall at 1, 5 and 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sonolex import metrics
from sonolex.labels import class_name
from sonolex.scores.base import Scorer


class RetrievalScorer(Scorer):
    """The two halves of a row are the unit vectors of a clip's audio and of its text; zeros for one it lacks."""

    def metrics(
        self, labels: Sequence[Any], scores: np.ndarray, options: Mapping[str, Any], groups: Sequence[Any] | None
    ) -> dict[str, float]:
        """Return recall at 1, 5 and 10 from audio to text and back.

        Clips with one label share one text, the mean of theirs. Of equally near answers the wrong ones come first.
        Clips that lack a modality are left out; empty without two different labels.
        """
        audio_BD, text_BD = np.split(np.asarray(scores, np.float64), 2, axis=1)
        both_B = audio_BD.any(1) & text_BD.any(1)
        audio_BD, text_BD = audio_BD[both_B], text_BD[both_B]
        names_M, text_B = np.unique(np.array([class_name(v) for v in labels])[both_B], return_inverse=True)
        if len(names_M) < 2:
            return {}
        right_BM = text_B[:, None] == np.arange(len(names_M))
        texts_MD = (right_BM.T @ text_BD) / right_BM.sum(0)[:, None]
        cosines_BM = audio_BD @ (texts_MD / np.maximum(np.linalg.norm(texts_MD, axis=1, keepdims=True), 1e-12)).T
        recalls = {}
        for direction, of_queries, right in (
            ("audio_to_text", cosines_BM, right_BM),
            ("text_to_audio", cosines_BM.T, right_BM.T),
        ):
            recalls |= {f"{direction}_recall_at_{k}": v for k, v in metrics.recalls(of_queries, right).items()}
        return recalls

    def width(self, num_scores: int, options: Mapping[str, Any]) -> int:
        return num_scores + num_scores % 2


SCORER = RetrievalScorer()
