"""What a run reports besides its own score: other modalities, thresholds chosen on the selection part, label shares."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sonolex.tasks.tagging import TaggingConfig
from sonolex.train.checkpoint import load_model
from sonolex.train.journal import read_journal
from sonolex.train.loop import train
from sonolex.train.manifests import load_source
from sonolex.train.probing import probe
from sonolex.train.run import Budget, Source
from tests.train.helpers import MOOD, PITCH, small_run


def test_a_run_is_also_scored_with_single_modalities(corpus, tmp_path):
    run = small_run(corpus.root, tasks=(PITCH,), budget=Budget(epochs=10, batch_s=8, select="last"), row="both")
    run = replace(run, data=replace(run.data, also_report=(("audio",), ("text",))))
    whole = train(run, tmp_path / "run", quiet=True)
    audio, text = (json.loads((tmp_path / "run" / "asked" / m / "results.json").read_text()) for m in ("audio", "text"))
    assert whole["row"] == "both" and text["row"] == "both, asked with text"
    assert (audio["modalities"], audio["trained_modalities"]) == (["audio"], ["audio", "text"])
    # Pitch is only audible: words say nothing about it.
    assert audio["scores"]["pitch"]["accuracy"] > 0.9 > text["scores"]["pitch"]["accuracy"]
    predicted = json.loads((tmp_path / "run" / "asked" / "text" / "predictions" / "pitch.json").read_text())
    assert len(predicted["clip_ids"]) == whole["num_report_clips"]


def test_a_probe_learns_from_one_modality_and_is_scored_with_the_other(corpus, tmp_path):
    run = small_run(corpus.root, tasks=(MOOD,), frozen_classifier="linear")
    loading = replace(run.data.loading, modalities=("text",), drop_audio=0.0, drop_text=0.0)
    run = replace(run, data=replace(run.data, loading=loading, also_report=(("audio",),)))
    with_text = probe(run, tmp_path / "probe")
    with_audio = json.loads((tmp_path / "probe" / "asked" / "audio" / "results.json").read_text())
    assert with_text["modalities"] == ["text"] and with_audio["modalities"] == ["audio"]
    assert with_text["scores"]["mood"]["accuracy"] > with_audio["scores"]["mood"]["accuracy"]


def test_thresholds_are_chosen_on_the_selection_part_and_saved(corpus, tmp_path):
    task = TaggingConfig(
        "mood",
        label="mood",
        classes=("good", "bad"),
        metric_names=("mean_binary_balanced_accuracy",),
        tune_thresholds=True,
    )
    run = small_run(corpus.root, tasks=(task,), budget=Budget(epochs=4, batch_s=8, select="last"))
    results = train(run, tmp_path / "run", quiet=True)
    values = results["scores"]["mood"]
    policies = {n.split("@")[1] for n in values if "@" in n}
    assert policies == {"0.5", "argmax", "tuned"}
    model, _, _ = load_model(tmp_path / "run" / "model")
    saved = model.tasks["mood"].thresholds_C.tolist()
    used = json.loads((tmp_path / "run" / "predictions" / "mood.json").read_text())["options"]["thresholds"]
    assert used == pytest.approx(saved) and saved != [0.5, 0.5]


def test_a_smaller_share_of_the_labels_is_part_of_a_larger_one(corpus):
    def ids(share, draw=0):
        source = Source(manifest=str(corpus.root / "manifest.arrow"), share=share, draw=draw)
        return load_source(source).column("id")

    sizes = [len(ids(share)) for share in (0.001, 0.25, 0.5, 1.0)]
    assert sizes == [1, 12, 24, 48]
    assert set(ids(0.25)) < set(ids(0.5)) < set(ids(1.0))
    assert set(ids(0.5)) != set(ids(0.5, draw=1))
    assert ids(0.5) == [i for i in ids(1.0) if i in set(ids(0.5))]
    with pytest.raises(ValueError, match="share"):
        Source(manifest="x", share=0.0)


def test_best_may_mean_a_named_metric(corpus, tmp_path):
    budget = Budget(epochs=3, batch_s=8, batch_clips=8, select_by="macro_f1")
    results = train(small_run(corpus.root, budget=budget), tmp_path / "run", quiet=True)
    selections = [e for e in read_journal(tmp_path / "run") if e["event"] == "selection"]
    means = [(e["pitch.macro_f1"] + e["mood.macro_f1"]) / 2 for e in selections]
    assert results["selection_value"] == pytest.approx(max(means))
    wrong = replace(budget, select_by="macro_f2")
    with pytest.raises(ValueError, match="select_by"):
        train(small_run(corpus.root, budget=wrong), tmp_path / "wrong", quiet=True)
