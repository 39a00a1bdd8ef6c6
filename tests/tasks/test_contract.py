"""What every task must do. Tasks are found by their folder, and their cases in the test module of each, ``CASES``."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from sonolex import configs
from sonolex.configs import module_names
from sonolex.floors import PartOfFold
from sonolex.results.compare import score
from sonolex.results.saved import load_predictions
from sonolex.scores.base import find_scorer
from sonolex.systems.ctal import Ctal
from sonolex.tasks.base import Model, build_task, task_type
from sonolex.train.evaluation import write_scores
from sonolex.types import Batch, Encoding
from tests.tasks.parts import system

TASKS = module_names("tasks")
CASES = [
    pytest.param(config, labels * 3, id=f"{name}-{config.name}")
    for name in TASKS
    if find_spec(f"tests.tasks.test_{name}")
    for config, labels in import_module(f"tests.tasks.test_{name}").CASES
]
DIM = 8


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_tests_and_cases_of_its_own(name):
    assert find_spec(f"tests.tasks.test_{name}"), f"write tests/tasks/test_{name}.py, with CASES"
    assert any(case.values[0].kind == name for case in CASES)


def encoding(num_clips: int) -> Encoding:
    """Return vectors as a system gives them, those of each modality included."""
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.randn(num_clips, DIM, generator=generator) for _ in range(3)]
    unit = {n: torch.nn.functional.normalize(v) for n, v in zip(("audio", "text"), vectors[1:], strict=True)}
    return Encoding(vectors[0], aligned=unit)


def prepared(task, labels) -> Batch:
    """Return a batch of clips with these labels and the task's targets."""
    return task.prepare(Batch(tuple(map(str, range(len(labels)))), labels={task.config.label: tuple(labels)}), None)


@pytest.mark.parametrize(("config", "labels"), CASES)
def test_a_config_is_found_by_its_module_and_survives_json(config, labels):
    kind = task_type(config.kind)
    assert kind.config_type is type(config)
    assert configs.from_json(kind.config_type, json.loads(json.dumps(configs.to_json(config)))) == config
    assert isinstance(config.label, str) and isinstance(config.classes, tuple)
    assert kind.trained or kind.needs_encoding
    names = [name for value in labels if value is not None for name in config.classes_in(value)]
    assert all(isinstance(name, str) for name in names)


@pytest.mark.parametrize(("config", "labels"), CASES)
def test_weights_depend_on_the_seed_alone(config, labels):
    first, again, other = (build_task(config, DIM, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[n], again[n]) for n in first)
    drawn = [n for n, v in first.items() if n.endswith("weight") and v.ndim == 2]
    assert all(not torch.equal(first[n], other[n]) for n in drawn)


@pytest.mark.parametrize(("config", "labels"), CASES)
def test_every_parameter_gets_a_gradient_and_clips_without_label_count_nothing(config, labels):
    task = build_task(config, DIM)
    if not (task.trained and task.needs_encoding):
        pytest.skip("has no loss of its own")
    batch = prepared(task, labels)
    terms = task.losses(None, batch, encoding(len(labels)))
    assert tuple(terms) == task.loss_terms(None)
    sum(term.mean for term in terms.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())
    known = [i for i, v in enumerate(labels) if v is not None]
    alone = Encoding(encoding(len(labels)).pooled_BD[known])
    (all_clips,), (few,) = (
        t.values() for t in (terms, task.losses(None, prepared(task, [labels[i] for i in known]), alone))
    )
    assert few.count == all_clips.count and few.sum.item() == pytest.approx(all_clips.sum.item(), rel=1e-5)
    nothing = prepared(task, [None] * 4)
    (term,) = task.losses(None, nothing, encoding(4)).values()
    assert term.count == 0 and term.sum.item() == 0


@pytest.mark.parametrize(("config", "labels"), CASES)
def test_scores_are_saved_and_scored_again_without_the_task(config, labels, tmp_path, monkeypatch):
    task = build_task(config, DIM)
    scores = task.scores(encoding(len(labels))) if task.needs_encoding else None
    assert (scores is None) == (task.scorer is None)
    if scores is None:
        return
    assert scores.shape[0] == len(labels) and scores.ndim == 2 and scores.dtype == torch.float32
    values = np.round(scores.detach().numpy(), 5).astype(np.float64)
    told = task.metrics(labels, values)
    assert told and all(isinstance(v, float) for v in told.values())
    monkeypatch.setattr(Ctal, "aligns_modalities", True)  # what a search across modalities asks of a system
    model, ids = Model(system(), {config.name: task}), list("abcdefghijkl")
    write_scores(tmp_path / "p.json", model, config.name, ids, labels, values)
    saved = load_predictions(tmp_path / "p.json")
    assert saved["scorer"] is task.scorer is find_scorer(task.scorer_name())
    assert score(saved) == pytest.approx(told, nan_ok=True)
    answers = task.decide(values)
    assert json.loads(json.dumps(answers)) == answers and len(answers) == len(labels)
    assert task.pooled(values[:3]).shape == values[0].shape


@pytest.mark.parametrize(("config", "labels"), CASES)
def test_floors_have_the_form_of_scores(config, labels):
    rng = np.random.default_rng(0)
    statistics = {name: rng.normal(size=(len(labels), size)) for name, size in (("mfcc", 80), ("log_mel", 120))}
    trained = [v for v in labels if v != "cow"]  # an answer of an open vocabulary
    part = PartOfFold(labels, statistics)
    train = PartOfFold(trained, {n: v[: len(trained)] for n, v in statistics.items()})
    floors = config.floors({"train": train, "selection": train, "report": part})
    task = build_task(config, DIM)
    if task.scorer is None:
        assert floors == {}
    for scores in floors.values():
        assert scores.shape[0] == len(labels) and np.isfinite(scores).all()
        assert task.scorer.width(scores.shape[1], task.scorer_options()) == scores.shape[1]
        assert task.metrics(labels, scores)
