"""Which weights are the best: the selection value of every kind of run, and torch's plateau."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.regression import RegressionConfig
from sonolex.train.evaluation import Evaluation
from sonolex.train.selection import note_selection, selection_value
from tests.conftest import TINY
from tests.train.helpers import HEIGHT, MOOD, PITCH


def model(processor, *tasks) -> Model:
    system = build_system("ctal", system_type("ctal").matched(TINY, processor))
    return Model(system, {t.name: build_task(t, system.pooled_dim) for t in tasks})


def evaluation(metrics, **losses) -> Evaluation:
    """Return an evaluation with losses given as (value, weight)."""
    values, weights = ({n: v[i] for n, v in losses.items()} for i in (0, 1))
    total = sum(v * w for v, w in losses.values())
    return Evaluation([], {}, {}, np.zeros((0, 0)), metrics, values | {"total": total}, weights)


def test_a_pretraining_is_selected_by_its_weighted_total(processor):
    small_model = model(processor, PretrainingConfig("pre", term_weights={"mcam": 0.1}))
    scored = evaluation({}, mlm=(2.0, 1.0), mcam=(5.0, 0.1))
    assert selection_value(small_model, scored) == -2.5 == -scored.losses["total"]


def test_diagnostics_of_weight_0_have_no_say(processor):
    small_model = model(processor, PretrainingConfig("pre"))
    low = evaluation({}, mlm=(2.0, 1.0), mcam=(1.0, 1.0), rank=(3.0, 0.0))
    high = evaluation({}, mlm=(2.0, 1.0), mcam=(1.0, 1.0), rank=(300.0, 0.0))  # equal loss, more rank
    assert selection_value(small_model, low) == selection_value(small_model, high) == -3.0


def test_beside_other_tasks_a_pretraining_counts_its_own_terms_only(processor):
    small_model = model(processor, PITCH, PretrainingConfig("pre", weight=0.5))
    scored = evaluation(
        {"pitch": {"balanced_accuracy": 0.75}},
        pitch=(0.6, 1.0), orthogonal=(9.0, 1.0), mlm=(1.0, 0.5), mcam=(2.0, 0.5),
    )  # fmt: skip
    assert selection_value(small_model, scored) == pytest.approx((0.75 - 1.5) / 2)
    assert selection_value(small_model, scored, "balanced_accuracy") == 0.75


def test_the_mean_is_over_tasks_and_errors_count_downwards(processor):
    small_model = model(processor, MOOD, HEIGHT)
    scored = evaluation(
        {"mood": {"balanced_accuracy": 0.9}, "height": {"mae": 0.4}}, mood=(1.0, 1.0), height=(1.0, 1.0)
    )
    assert selection_value(small_model, scored) == pytest.approx((0.9 - 0.4 / HEIGHT.spread) / 2)


def test_errors_of_several_tasks_count_in_the_unit_of_each(processor):
    """Years of age decided alone beside points of a scale."""
    age = RegressionConfig("age", label="age", centre=40.0, spread=20.0)
    scored = evaluation({"mood": {"balanced_accuracy": 0.9}, "age": {"mae": 10.0}}, mood=(1.0, 1.0), age=(1.0, 1.0))
    small_model = model(processor, MOOD, age)
    assert selection_value(small_model, scored) == pytest.approx((0.9 - 0.5) / 2)
    assert selection_value(small_model, scored, "mae") == -10.0


def test_a_value_that_is_no_number_stops_instead_of_being_the_best_for_ever(processor):
    scored = evaluation({"mood": {"balanced_accuracy": float("nan")}}, mood=(1.0, 1.0))
    with pytest.raises(ValueError, match="selection value must be a number, but is NaN"):
        selection_value(model(processor, MOOD), scored)


@pytest.mark.parametrize(("patience", "seed"), list(itertools.product([0, 1, 2, 5], range(8))))
def test_a_plateau_is_torchs_step_by_step(patience, seed):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    torch_schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience, threshold=0.0, threshold_mode="abs", eps=0.0
    )
    state = {"best": None, "stale": 0, "waited": 0, "halvings": 0, "step": 0}
    values = np.random.default_rng(seed).integers(-6, 7, 60) / 4 + np.linspace(0, seed % 3, 60)  # with ties
    best = -np.inf
    for step, value in enumerate(values):
        state["step"] = step
        assert note_selection(state, float(value), plateau_patience=patience) == (value > best)
        best = max(best, value)
        torch_schedule.step(float(value))
        assert 0.5 ** state["halvings"] == optimizer.param_groups[0]["lr"], step
        assert state["best"] == torch_schedule.best and state["waited"] == torch_schedule.num_bad_epochs
        assert values[state["best_step"]] == best


def test_without_a_plateau_nothing_is_halved_and_staleness_is_counted():
    state = {"best": None, "stale": 0, "waited": 0, "halvings": 0, "step": 0}
    for value in (1.0, 0.5, 0.5, 0.5, 0.5):
        note_selection(state, value, plateau_patience=None)
    assert state["halvings"] == 0 and state["stale"] == 4
