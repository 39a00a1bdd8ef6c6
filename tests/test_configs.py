from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from sonolex import configs
from sonolex.systems.ctal import CtalConfig
from sonolex.tasks.classification import ClassificationConfig


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    pair: tuple[float, float] = (0.9, 0.999)


@pytest.mark.parametrize(
    "config",
    [Outer(), Outer("y", Inner((3,)), Inner()), CtalConfig.tiny(), ClassificationConfig("a", classes=("b", "c"))],
)
def test_configs_survive_json(config):
    values = json.loads(json.dumps(configs.to_json(config)))
    assert configs.from_json(type(config), values) == config


def test_a_whole_number_that_only_a_float_holds_becomes_one():
    kept, rounded = configs.from_json(Outer, {"pair": [1, 10**29]}).pair
    assert type(kept) is int and type(rounded) is float and rounded == 1e29


def test_all_unknown_fields_are_named_with_the_nearest():
    with pytest.raises(
        ValueError,
        match=r"`num_layer` is unknown. Did you mean 'num_layers'[\s\S]*`widht` is unknown. Did you mean 'width'",
    ):
        configs.from_json(CtalConfig, {"num_layer": 3, "widht": 4})


def test_names_are_modules_and_unknown_ones_suggest_the_nearest():
    assert configs.find_module("systems", "ctal").__name__ == "sonolex.systems.ctal"
    assert configs.find_module("systems", "sonolex.systems.ctal", trust_code=True).SYSTEM.name == "ctal"
    with pytest.raises(ValueError, match="Did you mean 'ctal'"):
        configs.find_module("systems", "ctall")
    assert configs.find_module("systems", "mdre").__name__ == "sonolex.systems.ctal_rows.mdre"
    assert not {"base", "ctal_rows"} & set(configs.module_names("systems"))
    assert not [n for p in ("systems", "protocols", "tasks") for n in configs.module_names(p) if n.startswith("_")]


def test_every_module_keeps_its_promise():
    for name in configs.module_names("systems"):
        assert configs.find_module("systems", name).SYSTEM.name == name
    for name in configs.module_names("protocols"):
        assert configs.find_module("protocols", name).PROTOCOL.name == name
    for name in configs.module_names("tasks"):
        assert configs.find_module("tasks", name).TASK.config_type.__module__ == f"sonolex.tasks.{name}"
    for name in configs.module_names("scores"):
        assert configs.find_module("scores", name).SCORER.name == name
    for name in configs.module_names("data.corpora"):
        assert callable(configs.find_module("data.corpora", name).prepare)
    for name in configs.module_names("recipes"):
        module = configs.find_module("recipes", name)
        commands = [f"sonolex {verb} {name}" for verb in ("train", "table")]
        assert callable(module.recipe) and callable(module.tiny) and any(c in (module.__doc__ or "") for c in commands)
