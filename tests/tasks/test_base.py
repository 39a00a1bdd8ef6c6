from __future__ import annotations

import pytest
import torch

from sonolex.tasks.base import Model, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.types import Batch, Losses, Padded, Term
from tests.conftest import TINY
from tests.tasks.parts import BATCH, system


def test_losses_over_several_batches_are_one_mean():
    terms = [Losses({"x": Term(torch.tensor(s), n, 2.0)}) for s, n in ((6.0, 3.0), (1.0, 1.0))]
    assert sum(t.total_over({"x": 4.0}).item() for t in terms) == pytest.approx(2.0 * 7.0 / 4.0)
    assert terms[0].total.item() == 4.0


def test_a_model_encodes_once_for_all_tasks():
    made = system()
    tasks = {
        n: build_task(ClassificationConfig(n, label="mood", classes=("glad", "sad")), made.pooled_dim) for n in "ab"
    }
    model = Model(made, tasks)
    calls = []
    original = made.encode
    made.encode = lambda batch: calls.append(1) or original(batch)  # type: ignore[method-assign]
    batch = Batch(
        ("a", "b", "c"),
        frames=Padded.of(torch.randn(3, 9, TINY.num_features), torch.ones(3, 9, dtype=torch.bool)),
        labels=BATCH.labels,
    )
    assert set(model(model.prepare(batch)).terms) == {"a", "b", "orthogonal"} and len(calls) == 1
