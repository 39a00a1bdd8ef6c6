"""Every recipe's tiny() trains in seconds and lowers its loss; no run selects on what it reports."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sonolex.configs import find_module, module_names
from sonolex.train.journal import training_curve
from sonolex.train.series import train_all

SPOKEN = {"quickstart"}
RECIPES = module_names("recipes")


@pytest.fixture
def recordings(shared_data, monkeypatch):
    monkeypatch.setenv("SONOLEX_DATA", str(shared_data))


@pytest.mark.parametrize("name", RECIPES)
def test_tiny_trains_and_lowers_its_loss(name, tmp_path, request):
    if name in SPOKEN:
        pytest.importorskip("espeakng_loader")
    else:
        request.getfixturevalue("recordings")
    runs = find_module("recipes", name).tiny()
    results = train_all(runs, tmp_path, quiet=True, say=lambda text: None)
    for run, result in zip(runs, results, strict=True):
        _, losses = training_curve(tmp_path / run.name, "step", "total")
        quarter = max(1, len(losses) // 4)
        assert np.mean(losses[-quarter:]) < np.mean(losses[:quarter]), run.name
        if run.data.protocol:
            assert len(result["fingerprint"]) == 12 and result["environment"]["torch"] and result["floors"]


@pytest.mark.parametrize("name", RECIPES)
def test_runs_have_different_names_and_never_select_on_the_report_part(name, monkeypatch):
    monkeypatch.setenv("SONOLEX_DATA", "anywhere")
    runs = find_module("recipes", name).recipe()
    assert len({r.name for r in runs}) == len(runs)
    for run in runs:
        assert not [s for s in run.data.report if s in run.data.selection or s in run.data.train]
        if run.data.protocol:
            parts = {s.part for s in run.data.selection}
            assert parts == {"selection"} or (not parts and run.budget.select == "last")
            assert {s.part for s in run.data.report} == {"report"}


def test_calm_tables_use_a_language_models_weights_in_the_rows_that_name_them(tmp_path, monkeypatch):
    from sonolex.recipes.calm_tables import TABLES, recipe

    monkeypatch.setenv("SONOLEX_DATA", "anywhere")
    sizes = {"num_hidden_layers": 1, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 64}
    sizes |= {"vocab_size": 100, "max_position_embeddings": 64, "layer_norm_eps": 1e-12, "model_type": "bert"}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    for table in TABLES:
        runs = recipe(table=table, corpus="tonewords", size="small", bert=str(tmp_path))
        assert len({r.name for r in runs}) == len(runs) and all(r.config.width == 48 for r in runs)
        first = {r.name for r in runs if r.init_from is None and "random" not in r.name}
        with_checkpoint = {r.name for r in runs if r.pretrained}
        assert with_checkpoint == first
    gaps = {r.row: r.config.neighbour_gap for r in recipe(table="neighbours", corpus="tonewords") if r.row}
    assert sorted(gaps.values()) == [1, 2]
    with pytest.raises(ValueError, match="bert"):
        recipe(table="language_model")


def test_the_laboratory_starts_from_a_given_model_and_counts_only_the_labels_of_a_share(monkeypatch, tmp_path):
    from sonolex.recipes.transfer_lab import recipe
    from sonolex.systems.base import system_type
    from sonolex.train.checkpoint import build_model, save_model

    monkeypatch.setenv("SONOLEX_DATA", "anywhere")
    kind = system_type("ctal")
    for seed in (0, 1):
        processor = kind.processor_type.create(kind.processor_type.config_type(), transcripts=["one two"])
        config = kind.matched(kind.config_type.tiny(width=32 * (seed + 1)), processor)
        save_model(tmp_path / f"given-{seed}", build_model(kind, config, (), seed=0), processor, provenance={})
    runs = recipe(joint=str(tmp_path / "given-{seed}"), shares=(0.1, 1.0), seeds=(0, 1))
    assert {r.init_from for r in runs if r.row.startswith("joint: text,")} >= {str(tmp_path / "given-1")}
    assert {r.config.width for r in runs if r.seed == 1} == {64} and not [
        r for r in runs if r.name.startswith("joint-0")
    ]
    frozen = [r for r in runs if "frozen" in r.row]
    assert frozen and all(r.frozen_classifier == "noisy" and not r.data.selection for r in frozen)
    assert not [r for r in frozen if "then" in r.row]


def test_actors_are_looked_for_where_the_data_is(monkeypatch, tmp_path):
    from sonolex.recipes.tones_across_languages import recipe

    (tmp_path / "emodb4").mkdir()
    monkeypatch.setenv("SONOLEX_DATA", str(tmp_path))
    for run in recipe(seeds=(0,)):
        root = run.data.report[0].options.get("root")
        assert root == (str(tmp_path / "emodb4") if "emodb" in run.name else None)
