from __future__ import annotations

import json

import numpy as np
import pytest

from sonolex.cli import main
from sonolex.results.compare import compare_runs, score, text_tables
from sonolex.scores import regression, verification
from tests.saved_runs import make_run


def _pairs(predictions):
    return zip(predictions["scores"], predictions["labels"], strict=True)


def test_folds_are_pooled_and_seeds_give_mean_and_deviation(tmp_path):
    for seed in (0, 1, 2):
        for fold in ("one", "three"):
            make_run(tmp_path / f"{fold}-{seed}", seed=seed, fold=fold)
    (table,) = compare_runs([tmp_path])
    by_name = {r.name: r for r in table.rows}
    assert list(by_name) == ["floor: majority", "model", "published: the paper"]
    assert set(by_name["model"].by_seed) == {0, 1, 2} and table.num_clips == 120
    pooled = [json.loads((tmp_path / f"{f}-1" / "predictions" / "mood.json").read_text()) for f in ("one", "three")]
    right = sum(
        p["options"]["classes"][int(np.argmax(s))] == t
        for p in pooled
        for s, t in zip(p["scores"], p["labels"], strict=True)
    )
    assert by_name["model"].by_seed[1]["accuracy"] == pytest.approx(right / 120)
    text = text_tables([table])
    assert "±" in text and "WA in CTAL" in text and "published: the paper" in text


def test_markdown_has_the_same_cells(tmp_path, capsys):
    make_run(tmp_path / "a")
    assert main(["compare", str(tmp_path), "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(s for s in lines if s.startswith("| | "))
    rows = [s for s in lines if s.startswith("| ") and s != header]
    assert [r.split(" | ")[0] for r in rows] == ["| floor: majority", "| model", "| published: the paper"]
    assert {r.count("|") for r in (header, *rows)} == {header.count("|")}


def test_training_times_are_given_a_clip_and_waiting_for_data_beside_them(tmp_path, capsys):
    for number, load_s in enumerate((0.5, 0.1)):
        folder = make_run(tmp_path / f"new-{number}", seed=number)
        results = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps(results | {"load_s": load_s}))
    make_run(tmp_path / "old", row="old")  # before loading was counted
    assert main(["compare", str(tmp_path), "--times"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "ms a clip: steps waiting for data million parameters runs" in shown
    assert "model 20.0 6.0 2.50 2" in shown and "old 20.0 not known 2.50 1" in shown


def test_different_fingerprints_are_refused_with_the_field_that_differs(tmp_path, capsys):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", fingerprint="bbb")
    with pytest.raises(ValueError, match=r"one fingerprint[\s\S]*differ in: labels"):
        compare_runs([tmp_path])
    assert main(["compare", str(tmp_path)]) == 2
    assert "labels" in capsys.readouterr().err


def test_the_name_of_a_row_notes_missing_folds(tmp_path):
    make_run(tmp_path / "a1", row="whole", fold="one")
    make_run(tmp_path / "a2", row="whole", fold="two")
    make_run(tmp_path / "b1", row="half", fold="one")
    (table,) = compare_runs([tmp_path])
    assert [r.name for r in table.rows if "half" in r.name] == ["half (seed 0: 1 of 2 folds)"]
    make_run(tmp_path / "a3", row="whole", seed=1, fold="one")
    (table,) = compare_runs([tmp_path])
    (whole,) = [r for r in table.rows if "whole" in r.name]
    assert whole.name == "whole (seed 1 left out: 1 of 2 folds)" and list(whole.by_seed) == [0]


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"results\.json"):
        compare_runs([tmp_path])


def test_verification_and_regression_predictions_are_scored():
    labels = ["a"] * 10 + ["b"] * 10
    embeddings = np.concatenate([np.tile([1.0, 0.0], (10, 1)), np.tile([0.0, 1.0], (10, 1))])
    saved = {"scorer": verification.SCORER, "options": {}, "labels": labels, "scores": embeddings.tolist()}
    assert score(saved) == {"eer": 0.0}
    saved = {"scorer": regression.SCORER, "labels": [1.0, 2.0, None], "scores": [[1.0], [2.5], [9.0]]}
    saved["options"] = {"metric_names": ["mae"]}
    assert score(saved) == {"mae": 0.25}


def test_a_row_that_predicts_one_class_only_is_marked(tmp_path):
    from tests.saved_runs import predictions

    make_run(tmp_path / "good", row="good")
    make_run(tmp_path / "flat", row="flat")
    labels = json.loads((tmp_path / "flat" / "predictions" / "mood.json").read_text())["labels"]
    true = np.array([("no", "yes").index(v) for v in labels])
    (tmp_path / "flat" / "predictions" / "mood.json").write_text(json.dumps(predictions(true, np.ones(60, int))))
    table = text_tables(compare_runs([tmp_path]))
    marked = [line.split("  ")[1] for line in table.splitlines() if "predicts one class only" in line]
    assert marked == ["flat (!) predicts one class only"]  # the majority floor does so by design


def _numbers(folder, groups):
    """Make a run of numbers that are right but for an error of each group's own; return its row and the table."""
    make_run(folder)
    rng = np.random.default_rng(0)
    error_of = dict(zip([f"s{i}" for i in range(6)], rng.normal(size=6), strict=True))
    labels = rng.normal(size=60)
    saved = {
        "scorer": "regression",
        "options": {"metric_names": ["mae", "ccc", "pearson"]},
        "clip_ids": [f"c{i}" for i in range(60)],
        "labels": [None, *labels[1:].tolist()],
        "scores": [[float(v + error_of[f"s{i % 6}"])] for i, v in enumerate(labels)],
    }
    (folder / "predictions" / "mood.json").write_text(json.dumps(saved | ({"groups": groups} if groups else {})))
    (folder / "floors" / "mood.majority.json").unlink()
    (table,) = compare_runs([folder])
    return next(r for r in table.rows if r.name == "model"), table


def test_intervals_of_numbers_are_drawn_over_speakers(tmp_path):
    by_speaker, table = _numbers(tmp_path / "a", [f"s{i % 6}" for i in range(60)])
    assert list(by_speaker.intervals) == ["mae", "ccc", "pearson"] and text_tables([table]).count("[") == 3
    assert by_speaker.interval_of == "mae" and by_speaker.interval == by_speaker.intervals["mae"]
    for name, (low, high) in by_speaker.intervals.items():
        assert low <= by_speaker.by_seed[0][name] <= high
    over_clips, _ = _numbers(tmp_path / "b", None)
    width = [np.ptp(row.intervals["mae"]) for row in (by_speaker, over_clips)]
    assert over_clips.by_seed == by_speaker.by_seed and width[0] > 1.5 * width[1]
    assert (by_speaker.over, over_clips.over) == ("speakers or recordings", "clips")
