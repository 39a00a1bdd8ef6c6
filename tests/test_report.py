from __future__ import annotations

import json

import numpy as np
import pytest

from sonolex import report
from sonolex.cli import main


def predictions(true, predicted, classes=("no", "yes")):
    scores = np.eye(len(classes))[predicted]
    return {
        "kind": "classification",
        "classes": list(classes),
        "metric_names": [],
        "clip_ids": [f"c{i}" for i in range(len(true))],
        "labels": [classes[t] for t in true],
        "scores": scores.tolist(),
    }


def make_run(folder, *, row="model", seed=0, fold="one", fingerprint="aaa", card=None, accuracy=0.8, task="mood"):
    rng = np.random.default_rng([seed, len(fold)])
    true = rng.integers(0, 2, 60)
    predicted = np.where(rng.random(60) < accuracy, true, 1 - true)
    (folder / "predictions").mkdir(parents=True)
    (folder / "floors").mkdir()
    (folder / "predictions" / f"{task}.json").write_text(json.dumps(predictions(true, predicted)))
    (folder / "floors" / f"{task}.majority.json").write_text(json.dumps(predictions(true, np.zeros(60, int))))
    steps = [{"event": "step", "step": s, "total": 1 / (s + 1)} for s in range(50)]
    (folder / "journal.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps) + '{"event": "st')
    results = {
        "run": folder.name, "row": row, "seed": seed, "fold": fold, "protocol": "p", "fingerprint": fingerprint,
        "card": card or {"protocol": "p", "labels": fingerprint}, "primary": "accuracy", "notes": "",
        "scores": {task: {"accuracy": 0.0}}, "published": {"the paper": {"accuracy": 0.9}}, "train_s": 1.0,
        "environment": {"sonolex": "0", "git_commit": "c" * 40, "git_dirty": False, "torch": "2", "num_cpus": 2},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_folds_are_pooled_and_seeds_give_mean_and_deviation(tmp_path):
    for seed in (0, 1, 2):
        for fold in ("one", "three"):
            make_run(tmp_path / f"{fold}-{seed}", seed=seed, fold=fold)
    (table,) = report.compare([tmp_path])
    by_name = {r.name: r for r in table.rows}
    assert list(by_name) == ["floor: majority", "model", "published: the paper"]
    assert set(by_name["model"].by_seed) == {0, 1, 2} and table.num_clips == 120
    pooled = [json.loads((tmp_path / f"{f}-1" / "predictions" / "mood.json").read_text()) for f in ("one", "three")]
    right = sum(
        p["classes"][int(np.argmax(s))] == t for p in pooled for s, t in zip(p["scores"], p["labels"], strict=True)
    )
    assert by_name["model"].by_seed[1]["accuracy"] == pytest.approx(right / 120)
    text = report.text_tables([table])
    assert "±" in text and "WA in CTAL" in text and "published: the paper" in text


def test_different_fingerprints_are_refused_with_the_field_that_differs(tmp_path, capsys):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", fingerprint="bbb")
    with pytest.raises(ValueError, match=r"one fingerprint[\s\S]*differ in: labels"):
        report.compare([tmp_path])
    assert main(["compare", str(tmp_path)]) == 2
    assert "labels" in capsys.readouterr().err


def test_a_row_that_lacks_folds_says_so(tmp_path):
    make_run(tmp_path / "a1", row="whole", fold="one")
    make_run(tmp_path / "a2", row="whole", fold="two")
    make_run(tmp_path / "b1", row="half", fold="one")
    (table,) = report.compare([tmp_path])
    assert [r.name for r in table.rows if "half" in r.name] == ["half (1 of 2 folds)"]


def test_the_page_is_one_file_with_pictures_and_no_links_outside(tmp_path):
    make_run(tmp_path / "a")
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a/predictions/embeddings.npz", pooled=rng.normal(size=(40, 4)), groups=np.array(["x", "y"] * 20)
    )
    page = report.write_html([tmp_path], tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3  # confusion matrix, curves, t-SNE
    assert "http" not in page.replace("https://", "http").split("base64")[0]
    assert "the paper" in page and "aaa" in page


def test_label_fractions_become_a_curve(tmp_path):
    for share in (10, 50, 100):
        make_run(tmp_path / f"f{share}", row=f"model, {share} % of labels", accuracy=0.5 + share / 250)
    page = report.write_html([tmp_path], tmp_path / "report.html").read_text()
    assert "Label fractions" in page


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"results\.json"):
        report.compare([tmp_path])


def test_verification_and_regression_predictions_are_scored():
    labels = ["a"] * 10 + ["b"] * 10
    embeddings = np.concatenate([np.tile([1.0, 0.0], (10, 1)), np.tile([0.0, 1.0], (10, 1))])
    saved = {"kind": "verification", "labels": labels, "scores": embeddings.tolist()}
    assert report.score(saved) == {"eer": 0.0}
    saved = {"kind": "regression", "labels": [1.0, 2.0, None], "scores": [[1.0], [2.5], [9.0]], "metric_names": ["mae"]}
    assert report.score(saved) == {"mae": 0.25}
