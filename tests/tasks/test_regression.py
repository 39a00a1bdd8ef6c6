from __future__ import annotations

import numpy as np
import pytest

from sonolex.tasks.base import build_task
from sonolex.tasks.regression import RegressionConfig
from tests.tasks.parts import BATCH, POOLED, silence, system

CASES = [(RegressionConfig("age", label="age", centre=40.0, spread=9.0), [31, 54.5, 28, None])]


def test_regression_is_in_the_labels_unit_and_ignores_missing_ones():
    task = build_task(RegressionConfig("value", label="value", centre=10.0, spread=2.0), 8)
    batch = task.prepare(BATCH, system())
    assert batch.counts["value"] == 2.0 and batch.targets["value"][2] == 2.5
    silence(task)
    assert task.scores(POOLED).tolist() == [[10.0]] * 3
    (term,) = task.losses(system(), batch, POOLED).values()
    assert term.mean.item() == pytest.approx((9.0 + 7.5) / 2 / 2.0)
    assert task.metrics([1.0, None, 2.5], np.full((3, 1), 10.0))["mae"] == pytest.approx(8.25)
    with pytest.raises(ValueError, match=r"finite number.*clip-1"):
        task.value("high", "clip-1")
