from __future__ import annotations

import numpy as np
import pytest
import torch

from sonolex.tasks.base import MISSING, build_task
from sonolex.tasks.verification import VerificationConfig
from tests.tasks.parts import BATCH, POOLED, system

CASES = [(VerificationConfig("who", classes=("x", "y"), embedding_dim=3), ["x", "y", "x", None])]


@pytest.mark.parametrize("changes", [{}, {"scale": 20.0}, {"embedding_dim": 4}])
def test_verification_trains_on_known_speakers_and_scores_unit_vectors(changes):
    task = build_task(VerificationConfig("speaker", classes=("x", "y"), **changes), 8)
    batch = task.prepare(BATCH, system())
    assert batch.targets["speaker"].tolist() == [0, MISSING, 1] and batch.counts["speaker"] == 2.0
    (term,) = task.losses(system(), batch, POOLED).values()
    assert term.sum.isfinite()
    assert torch.allclose(task.scores(POOLED).norm(dim=1), torch.ones(3), atol=1e-6)
    vectors = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert task.metrics(["x", "x", "y", "y"], vectors) == {"eer": 0.0}
    assert task.metrics(["x", "x", "x", "x"], vectors) == {}
