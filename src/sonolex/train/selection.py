"""Which weights of a run are the best, and what follows from it: early stopping, and a rate that is halved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sonolex.tasks.base import Model, Task
from sonolex.train.evaluation import Evaluation


def selection_value(model: Model, evaluation: Evaluation, metric: str = "") -> float:
    """Return the value that ranks checkpoints, larger is better: the mean of the tasks' primary metrics.

    Each is measured in its task's unit (`Task.unit`), so that years and points of a scale weigh alike. A pre-training
    counts minus the weighted total of its own terms, as it enters the loss: terms that are only journaled
    (weight 0), penalties and the losses of other tasks are not included.

    Args:
        metric: instead of the primary ones, of the tasks that have it.

    Raises:
        ValueError: no task has it, or a value that is not a number.
    """
    values = []
    for name, task in model.task_items():
        if not task.trained:
            continue
        value = evaluation.metrics.get(name, {}).get(metric or task.primary_metric)
        if value is None and not metric and task.primary_metric == "loss":
            value = _weighted_total(task, model, evaluation)
        if value is not None:
            better = -value if task.prefers_less(metric or task.primary_metric) else value
            values.append(better if metric else better / task.unit)
    if metric and not values:
        raise ValueError(f"`select_by` must be a metric of one of the run's tasks, but is {metric!r}.")
    value = float(np.mean(values)) if values else -evaluation.losses.get("total", 0.0)
    if math.isnan(value):
        raise ValueError(
            f"the selection value must be a number, but is NaN: {evaluation.metrics or evaluation.losses}. "
            "Lower the learning rate, or look at the clips of the selection part."
        )
    return value


def note_selection(state: dict[str, Any], value: float, *, plateau_patience: int | None) -> bool:
    """Return whether weights of this selection value are the best so far, and note it in the state of training.

    With ``plateau_patience`` the rate is halved as by torch's ReduceLROnPlateau (threshold 0): after more than that
    many evaluations in a row without improvement.
    """
    if state["best"] is None or value > state["best"]:
        state.update(best=value, best_step=state["step"], stale=0, waited=0)
        return True
    state["stale"] += 1
    state["waited"] += 1
    if plateau_patience is not None and state["waited"] > plateau_patience:
        state["halvings"], state["waited"] = state["halvings"] + 1, 0
    return False


def _weighted_total(task: Task, model: Model, evaluation: Evaluation) -> float | None:
    terms = [name for name in task.loss_terms(model.system) if name in evaluation.weights]
    return sum(evaluation.weights[name] * evaluation.losses[name] for name in terms) if terms else None
