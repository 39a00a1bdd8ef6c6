"""Is this the same speaker? Equal error rates over pairs of clips, by the cosine of their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sonolex import eer
from sonolex.labels import class_name
from sonolex.scores.base import Scorer

EER_DRAWS = 30


class VerificationScorer(Scorer):
    """Vectors of clips: the exact ``eer`` over all pairs and, from four speakers on, CTAL's sampled one."""

    lower_is_better = frozenset({"eer", "eer_ge2e_sampled"})

    def metrics(
        self, labels: Sequence[Any], scores: np.ndarray, options: Mapping[str, Any], groups: Sequence[Any] | None
    ) -> dict[str, float]:
        speakers_B = np.array([class_name(v) for v in labels])
        if len(np.unique(speakers_B)) < 2:
            return {}
        rates = {"eer": eer.eer(*eer.all_pairs(speakers_B, scores))}
        by_speaker = {str(s): scores[speakers_B == s] for s in np.unique(speakers_B)}
        if len(by_speaker) >= eer.GE2E_SPEAKERS:
            rates["eer_ge2e_sampled"] = eer.eer_ge2e_sampled(by_speaker)
        return rates

    def intervals(self, labels: Sequence[Any], scores: np.ndarray) -> dict[str, tuple[float, float]]:
        speakers = np.array([str(label) for label in labels])
        same, of_pairs = eer.all_pairs(speakers, np.asarray(scores, np.float32))
        pairs = np.stack(np.triu_indices(len(speakers), k=1), 1)
        return {"eer": eer.eer_interval(same, of_pairs, pairs, num_draws=EER_DRAWS)}


SCORER = VerificationScorer()
