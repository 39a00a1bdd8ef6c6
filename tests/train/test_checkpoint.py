from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import sonolex
from sonolex import files
from sonolex.pretrained.files import read_weights
from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import Model, build_task
from sonolex.train import checkpoint, optim
from sonolex.train.run import Optim
from tests.conftest import TINY
from tests.train.helpers import HEIGHT, MOOD, PITCH


@pytest.fixture
def model(processor) -> Model:
    system = build_system("ctal", system_type("ctal").matched(TINY, processor), seed=3)
    return Model(system, {t.name: build_task(t, system.pooled_dim) for t in (PITCH, MOOD, HEIGHT)})


def test_a_saved_model_loads_to_the_same_bits_and_tasks(model, processor, tmp_path):
    checkpoint.save_model(tmp_path / "model", model, processor, provenance={"run": "x"})
    again, reader, saved = checkpoint.load_model(tmp_path / "model")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    assert [t.config for _, t in again.task_items()] == [t.config for _, t in model.task_items()]
    assert again.system.config == model.system.config and reader.config == processor.config
    assert torch.equal(reader.tokens("good quick", "a"), processor.tokens("good quick", "a"))
    assert saved["provenance"] == {"run": "x"}
    assert {p.suffix for p in (tmp_path / "model").iterdir()} == {".json", ".safetensors", ".md"}


def test_weights_that_do_not_fit_are_refused(model, processor, tmp_path):
    checkpoint.save_model(tmp_path / "model", model, processor, provenance={})
    path = tmp_path / "model" / "config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved | {"tasks": saved["tasks"][:1]}))
    with pytest.raises(ValueError, match=r"model\.safetensors must hold the weights .* has besides 'tasks\."):
        checkpoint.load_model(tmp_path / "model")
    path.write_text(json.dumps(saved | {"config": saved["config"] | {"widht": 3}}))
    with pytest.raises(ValueError, match="Did you mean 'width'"):
        checkpoint.load_model(tmp_path / "model")


def test_a_place_that_is_no_model_is_refused(tmp_path):
    for place in (tmp_path, "./nowhere", tmp_path / "deep" / "er"):
        with pytest.raises(FileNotFoundError, match="path"):
            checkpoint.model_folder(place)


def test_a_hub_id_is_read_from_the_hubs_own_cache_when_offline(model, processor, tmp_path, monkeypatch, capsys):
    """The layout is that of huggingface_hub; the download itself cannot be tested without a network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--somebody--ctal-mood"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    checkpoint.save_model(repository / "snapshots" / ("0" * 40), model, processor, provenance={})
    again, _, _ = checkpoint.load_model(checkpoint.model_folder("hub:somebody/ctal-mood@main"))
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    assert capsys.readouterr().err.startswith("downloading somebody/ctal-mood@main from the Hugging Face hub")
    with pytest.raises(FileNotFoundError, match="cannot be had from the hub"):
        checkpoint.model_folder("hub:somebody/not-there")
    for wrong in ("hub:bert", "hub:a/b/c", "hub:../x", "hub:a/b@", "hub:a/b@x y"):
        with pytest.raises(ValueError, match="ORG/NAME"):
            checkpoint.model_folder(wrong)


def test_a_mistyped_path_with_one_slash_never_asks_the_hub(monkeypatch):
    """It did: runs/modle went to the hub as a repository of somebody called runs."""
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(FileNotFoundError, match=r"'runs/modle' does not exist\. To .* hub, write hub:runs/modle"):
        sonolex.load("runs/modle")
    with pytest.raises(FileNotFoundError, match="hub:openai/whisper-tiny"):
        read_weights("openai/whisper-tiny")


def test_training_state_comes_back_exactly(model, tmp_path):
    built = optim.build_optimizer(model, Optim())
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    built.step()
    checkpoint.save_training_state(tmp_path / "step-1", model, built, {"step": 1})
    expected = {p: {k: v.clone() for k, v in s.items()} for p, s in built.state.items()}
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    built.step()
    assert checkpoint.load_training_state(tmp_path / "step-1", model, built, fresh={"step": 0}) == {"step": 1}
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    for p, before in expected.items():
        assert all(torch.equal(before[k], built.state[p][k]) for k in ("step", "exp_avg", "exp_avg_sq"))


def edited_group(state, edit):
    edit(state["optimizer"]["param_groups"][0])
    return state


SPOILED_STATES = {
    "a weight is NaN": ("model.safetensors", lambda t: t | {min(t): torch.full_like(t[min(t)], torch.nan)}),
    "weights are I32": ("model.safetensors", lambda t: {n: v.int() for n, v in t.items()}),
    "a weight has another shape": ("model.safetensors", lambda t: t | {min(t): torch.zeros(3)}),
    "a weight is missing": ("model.safetensors", lambda t: {n: t[n] for n in sorted(t)[1:]}),
    "a weight is new": ("model.safetensors", lambda t: t | {"payload": torch.zeros(1)}),
    "a moment is infinite": ("optimizer.safetensors", lambda t: t | {min(t): torch.full_like(t[min(t)], torch.inf)}),
    "a moment has another shape": ("optimizer.safetensors", lambda t: t | {"0.exp_avg": torch.zeros(7)}),
    "a moment is of no parameter": ("optimizer.safetensors", lambda t: t | {"99999.exp_avg": torch.zeros(7)}),
    "a moment has no number": (
        "optimizer.safetensors",
        lambda t: t | {"-1.exp_avg": torch.zeros(1), "x": torch.ones(1)},
    ),
    "the state has no loop": ("state.json", lambda s: {"optimizer": s["optimizer"]}),
    "the state has other groups": ("state.json", lambda s: s | {"optimizer": {"param_groups": []}}),
    "the state's groups are a text": ("state.json", lambda s: s | {"optimizer": {"param_groups": "x"}}),
    "a group has no betas": ("state.json", lambda s: edited_group(s, lambda g: g.pop("betas"))),
    "a group has another eps": ("state.json", lambda s: edited_group(s, lambda g: g.update(eps=1.0))),
    "a group's rate is a text": ("state.json", lambda s: edited_group(s, lambda g: g.update(lr="x"))),
    "the state is a list": ("state.json", lambda s: [s]),
    "a number of the loop is NaN": ("state.json", lambda s: s | {"loop": {"best": float("nan")}}),
    "a number of the loop is a text": ("state.json", lambda s: s | {"loop": {"step": "x"}}),
    "a count of the loop is negative": ("state.json", lambda s: s | {"loop": {"step": -5}}),
    "a count of the loop is a fraction": ("state.json", lambda s: s | {"loop": {"step": 1.5}}),
    "the loop has another name": ("state.json", lambda s: s | {"loop": {"step": 1, "stop": 1}}),
}


@pytest.mark.parametrize("name", SPOILED_STATES)
def test_a_spoiled_training_state_is_refused_and_changes_no_weight(name, model, tmp_path):
    built = optim.build_optimizer(model, Optim())
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    built.step()
    checkpoint.save_training_state(tmp_path / "step-1", model, built, {"step": 1})
    file, spoil = SPOILED_STATES[name]
    path = tmp_path / "step-1" / file
    if file == "state.json":
        path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    else:
        save_file(spoil(load_file(path)), path)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=str(path)):
        checkpoint.load_training_state(tmp_path / "step-1", model, built, fresh={"step": 0})
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def _killed(*arguments, **options):
    raise KeyboardInterrupt


def test_a_half_removed_checkpoint_is_not_the_latest(tmp_path, monkeypatch):
    for step in (1, 2):
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}" / "state.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:  # killed as soon as the folder is going
        patch.setattr("shutil.rmtree", _killed)
        files.remove_folder(tmp_path / "step-2")
    latest = checkpoint.latest_checkpoint(tmp_path)
    assert latest is not None and latest.name == "step-1"
    files.recover(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step-1"]


def test_starting_from_another_model_reports_what_stays_random(model, processor, tmp_path):
    system = build_system("ctal", model.system.config, seed=9)
    other = Model(system, {"pitch": build_task(PITCH, system.pooled_dim)})
    names = checkpoint.load_system_weights(other, {k: v for k, v in model.state_dict().items() if "tasks" not in k})
    assert names == ["tasks.pitch.head.out.bias", "tasks.pitch.head.out.weight"]
    with pytest.raises(ValueError, match="must fit the system"):
        checkpoint.load_system_weights(other, {"system.audio_embedding.position.weight": torch.zeros(3, 3)})


def test_the_error_names_the_place_of_an_incomplete_published_checkpoint():
    from types import SimpleNamespace

    from sonolex.train.building import _imports

    def fails(sources):
        raise ValueError("['encoder.weight'] must hold torch.float32 numbers or alike, but hold torch.int32.")

    model = SimpleNamespace(system=SimpleNamespace(import_pretrained=fails))
    with pytest.raises(ValueError, match=r"`pretrained` \(text from some/bert\): \['encoder\.weight'\] must hold"):
        _imports(model, {"text": "some/bert"})  # type: ignore[arg-type]


def test_a_folder_of_runs_is_refused_as_a_model_with_the_runs_it_holds(tmp_path):
    for run in ("first", "second"):
        (tmp_path / run / "model").mkdir(parents=True)
        (tmp_path / run / "model" / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"holds runs: \S+first, \S+second\. Name one\."):
        checkpoint.model_folder(tmp_path)
    assert checkpoint.model_folder(tmp_path / "first") == tmp_path / "first" / "model"
