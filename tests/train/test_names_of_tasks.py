"""A task may be called what any column is called: heads, checkpoints, journals, floors, predictions, tables, pages."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sonolex.cli import main
from sonolex.names import spelled
from sonolex.protocols.base import Fold, Protocol
from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import Model, _module_name, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.regression import RegressionConfig
from sonolex.tasks.tagging import TaggingConfig
from sonolex.tasks.verification import VerificationConfig
from sonolex.train import checkpoint
from sonolex.train.floors import floors_of_fold
from sonolex.train.journal import read_journal
from sonolex.train.loop import train
from sonolex.train.results import protocol_results
from sonolex.train.run import Budget
from tests.conftest import TINY
from tests.saved_runs import make_run
from tests.train.helpers import MOOD, PITCH, small_run

CLASSES = ("$10%-$20%", "a;b", "none", "yes", "1", "../x", "")
NAMES = [
    "type", "items", "keys", "values", "train", "training", "forward", "eval", "_modules", "__class__", "type%",
    "v1.0", "a/b", "mood [1-5]", "..", "../../x", "/", ".", "%", "tasks", "head",
    "total", "step", "value", "event", "self", "lr", "clips", "pitch.macro_f1", "gefühl", "怒り", "x" * 1000, "a b",
    " ", "$10%", "*", "text", "C:\\x", "pitch/other",
]  # fmt: skip


@pytest.fixture(scope="module")
def system(processor):
    return build_system("ctal", system_type("ctal").matched(TINY, processor))


def test_a_model_holds_tasks_of_every_name_and_loads_to_the_same_bits(system, processor, tmp_path):
    names = dict.fromkeys(NAMES)
    tasks = {
        n: build_task(RegressionConfig(n, label=n, hidden=2), system.pooled_dim, seed=i) for i, n in enumerate(names)
    }
    model = Model(system, tasks)
    assert [n for n, _ in model.task_items()] == list(names)
    checkpoint.save_model(tmp_path / "model", model, processor, provenance={"run": "`x`"})
    again, _, _ = checkpoint.load_model(tmp_path / "model")
    assert [(n, t.config) for n, t in again.task_items()] == [(n, t.config) for n, t in model.task_items()]
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    assert len(model.state_dict()) == len(system.state_dict()) + len(names) * len(tasks["a b"].state_dict())


def test_whatever_torch_calls_its_own_may_be_a_tasks_name():
    attributes = dir(nn.ModuleDict())
    held = nn.ModuleDict(
        {_module_name(name): nn.Linear(1, 1) for name in [*attributes, *(f"{n}%" for n in attributes)]}
    )
    assert len(held) == 2 * len(attributes) > 200 and len(list(held.parameters())) == 4 * len(attributes)


def test_ordinary_names_are_parameters_names_as_they_always_were(system):
    model = Model(
        system, {n: build_task(replace(MOOD, name=n), system.pooled_dim) for n in ("mood", "two words", "x_1")}
    )
    assert {k for k in model.state_dict() if k.startswith("tasks.")} == {
        f"tasks.{n}.head.{k}" for n in ("mood", "two words", "x_1") for k in model.tasks["mood"].head.state_dict()
    }


@pytest.mark.parametrize(
    "config", [ClassificationConfig, RegressionConfig, VerificationConfig, PretrainingConfig, TaggingConfig]
)
@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 1001, None, 3])
def test_a_task_without_a_name_is_refused(config, name):
    with pytest.raises(ValueError, match="`name` must be text of 1 to 1000 characters"):
        config(name, **({"classes": ("a", "b")} if config is TaggingConfig else {}))


def test_two_losses_of_one_name_are_refused(system, corpus, processor):
    with pytest.raises(ValueError, match=r"different names.*mlm"):
        Model(system, {n: build_task(c, system.pooled_dim) for n, c in
                       {"mlm": replace(MOOD, name="mlm"), "pre": PretrainingConfig("pre")}.items()})  # fmt: skip
    orthogonal = Model(system, {"orthogonal": build_task(replace(MOOD, name="orthogonal"), system.pooled_dim)})
    with pytest.raises(ValueError, match=r"different names.*orthogonal"):
        orthogonal.prepare(processor.collate([processor.example("a", front=None, text="good")]))


def test_runs_train_and_go_on_with_names_that_a_journal_and_torch_have_too(corpus, tmp_path):
    names = ("type", "step", "value", "event", "a/../b.c [1-5]", "total", "lr", "time_s")
    tasks = tuple(replace(PITCH if i % 2 else MOOD, name=n) for i, n in enumerate(names))
    run = small_run(corpus.root, tasks=tasks, budget=Budget(epochs=1, batch_s=8, checkpoint_steps=1))
    results = train(run, tmp_path / "run", quiet=True)
    assert set(results["scores"]) == set(names)
    files = {p.name for p in (tmp_path / "run" / "predictions").glob("*.json")}
    assert files == {f"{spelled(n)}.json" for n in names}
    steps = [e for e in read_journal(tmp_path / "run") if e["event"] == "step"]
    assert [e["step"] for e in steps] == list(range(1, len(steps) + 1))
    assert all(e["step (measured)"] > 0 and e["lr (measured)"] > 0 and e["value"] > 0 and e["type"] > 0 for e in steps)
    (tmp_path / "run" / "results.json").unlink()
    assert train(run, tmp_path / "run", quiet=True)["scores"] == results["scores"]


def test_floors_of_awkward_names_and_classes_are_cached_saved_and_compared(corpus, processor, system, tmp_path):
    # The classes are dealt so that every part has all of them.
    marked = corpus.with_column("mark", [CLASSES[i % len(CLASSES)] for i in range(len(corpus))])
    names = ("a/b", "a", "a.mfcc_svm", "../../x [1-5]")
    tasks = tuple(ClassificationConfig(n, label="mark", classes=CLASSES) for n in names)

    def split(manifest):
        return [Fold("../one", *(manifest.where(split=s) for s in ("train", "validation", "test")))]

    protocol = Protocol("awkward", "x", split, tasks, "accuracy", disjoint=("id",))
    (fold,) = protocol.folds(marked)
    model = Model(system, {t.name: build_task(t, system.pooled_dim) for t in tasks})
    run = make_run(tmp_path / "runs" / "a", task="other")
    results = protocol_results(protocol, fold, marked, model, run)
    assert set(results["floors"]) == set(names)
    assert {f for of_task in results["floors"].values() for f in of_task} == {"majority", "mfcc_svm", "log_mel_svm"}
    again = floors_of_fold(protocol, fold, results["fingerprint"])
    assert {(t, f): v.tolist() for t, fs in again.items() for f, v in fs.items()} == {
        (t, f): v.tolist()
        for t, fs in floors_of_fold(protocol, fold, results["fingerprint"]).items()
        for f, v in fs.items()
    }
    assert {t: set(fs) for t, fs in again.items()} == {n: {"majority", "mfcc_svm", "log_mel_svm"} for n in names}
    for name in names:
        saved = json.loads((run / "floors" / f"{spelled(name)}.mfcc_svm.json").read_text())
        (run / "predictions" / f"{spelled(name)}.json").write_text(json.dumps(saved))
        assert saved["options"]["classes"] == list(CLASSES) and len(saved["groups"]) == len(saved["clip_ids"])
    results = json.loads((run / "results.json").read_text())
    scores = {n: {"accuracy": 0.0} for n in names}
    (run / "results.json").write_text(json.dumps(results | {"scores": scores}))
    assert main(["report", str(tmp_path / "runs")]) == 0
    assert not (tmp_path / "x.json").exists()


def test_what_is_compared_of_awkward_names_has_all_its_floors(tmp_path, capsys):
    for name in ("a", "a.b", "a/b", "mood [1-5]", ".."):
        make_run(tmp_path / spelled(name), task=spelled(name), row=name)
        path = tmp_path / spelled(name) / "results.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"scores": {name: {}}}))
    assert main(["compare", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("floor: majority") == 5 and "p · mood [1-5] · 60 clips" in out and "p · .. · " in out


def test_mixed_clips_of_one_task_are_no_targets_of_another(system):
    from sonolex.types import Batch

    one, other = (build_task(ClassificationConfig(n, label=n, classes=("x", "y")), 4) for n in ("pitch", "pitch/other"))
    batch = Batch(
        ("a",), labels={"pitch": ("x",), "pitch/other": ("y",)}, other_labels={"pitch": ("y",)}, own_shares=(0.5,)
    )
    batch = other.prepare(one.prepare(batch, system), system)
    assert batch.targets["pitch/other"].tolist() == [1] and batch.targets["pitch"].tolist() == [0]
    assert len(batch.targets) == 8 and np.isfinite(list(batch.counts.values())).all()
