from __future__ import annotations

import numpy as np
import pytest

from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.probe import ProbeConfig
from tests.conftest import TINY

CASES = [(ProbeConfig("mood", label="mood", num_folds=2), ["glad", "sad", "glad", None])]


def test_a_probe_tells_informative_vectors_from_noise_and_trains_nothing():
    rng = np.random.default_rng(0)
    labels = ["a", "b"] * 30
    noise = rng.normal(size=(60, 6))
    informative = noise + np.array([[2.0] * 6, [-2.0] * 6] * 30)
    task = build_task(ProbeConfig("probe", label="mood"), 6)
    assert not task.trained and not list(task.parameters())
    told = task.metrics([*labels, None], np.vstack([informative, noise[:1]]))
    assert told["linear_accuracy"] > 0.95 and told["knn_accuracy"] > 0.95
    guessed = task.metrics(labels, noise)
    assert abs(guessed["linear_accuracy"] - 0.5) < 0.25 and abs(guessed["knn_accuracy"] - 0.5) < 0.25
    assert task.metrics(["a"] * 3, noise[:3]) == {}
    with pytest.raises(ValueError, match="at least 2 clips"):
        task.metrics(["a", "a", "b"], noise[:3])


def test_a_probe_has_no_say_in_the_best_checkpoint_and_costs_no_encoding_in_training(processor, corpus):
    from sonolex.train.evaluation import Evaluation
    from sonolex.train.selection import selection_value
    from tests.systems.test_contract import examples

    made = build_system("ctal", system_type("ctal").matched(TINY, processor))
    tasks = {
        "pre": build_task(PretrainingConfig("pre"), made.pooled_dim),
        "probe": build_task(ProbeConfig("probe", label="mood"), made.pooled_dim),
    }
    model = Model(made, tasks)
    batch = model.prepare(processor.collate(examples(processor, corpus, {"audio", "text"})))
    made.encode = lambda batch: pytest.fail("encoded for a probe")  # type: ignore[method-assign]
    assert set(model(batch).terms) == {"mlm", "mcam"}
    evaluation = Evaluation(
        [], {}, {}, np.zeros((0, 0)), {"probe": {"linear_accuracy": 0.9}}, {"mlm": 1.0, "total": 1.0}, {"mlm": 1.0}
    )
    assert selection_value(model, evaluation) == -1.0
