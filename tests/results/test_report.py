from __future__ import annotations

import json

import numpy as np
import pytest

from sonolex.results.compare import Row
from sonolex.results.plots import fraction_curves
from sonolex.results.report import write_html
from tests.saved_runs import make_run


def test_the_page_is_one_file_with_pictures_and_no_links_outside(tmp_path):
    make_run(tmp_path / "a")
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a/predictions/embeddings.npz", pooled=rng.normal(size=(40, 4)), groups=np.array(["x", "y"] * 20)
    )
    page = write_html([tmp_path], tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3  # confusion matrix, curves, t-SNE
    assert "http:" not in page and "https:" not in page
    assert "the paper" in page and "aaa" in page


def test_label_fractions_become_a_curve(tmp_path):
    for share in (10, 50, 100):
        make_run(tmp_path / f"f{share}", row=f"model, {share} % of labels", accuracy=0.5 + share / 250)
    page = write_html([tmp_path], tmp_path / "report.html").read_text()
    assert "Label fractions" in page


def test_a_curve_begins_with_what_no_label_gave(tmp_path):
    def row(name, value):
        return Row(name, "mood", {0: {"f1": value}, 1: {"f1": value + 0.1}})

    rows = [
        row("text, asked with audio", 0.3),
        row("text, then audio, 50 % of labels", 0.6),
        row("text, then audio, 5 % of labels", 0.4),
        row("audio, 5 % of labels", 0.2),
        row("frozen: text, asked with audio", 0.5),
        row("audio", 0.7),
    ]
    curves = fraction_curves(rows, "f1")
    assert [percent for percent, _, _ in curves["text, then audio"]] == [0, 5, 50]
    assert curves["text, then audio"][0][1] == pytest.approx(0.35)
    assert curves["audio"] == [(5, pytest.approx(0.25), pytest.approx(0.1 / 2**0.5))]
    assert list(curves) == ["text, then audio", "audio", "frozen: text, then audio"]


def test_each_scored_modality_has_a_figure_of_its_own(tmp_path):
    for number, (modality, share) in enumerate([("audio", 1), ("audio", 50), ("text", 1), ("text", 50)]):
        folder = make_run(tmp_path / f"{number}", row=f"{modality}, {share} % of labels")
        results = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps(results | {"modalities": [modality]}))
    page = write_html([tmp_path], tmp_path / "report.html").read_text()
    figures = page.split("Label fractions")[1].split("Learning curves")[0]
    assert figures.count("data:image/png;base64,") == 2


def test_a_page_of_an_open_vocabulary_leaves_labels_that_are_no_class_out_of_its_matrix(tmp_path):
    """`report` stopped at the first answer that no training clip had."""
    file = make_run(tmp_path / "run") / "predictions" / "mood.json"
    saved = json.loads(file.read_text())
    saved["options"] |= {"open_vocabulary": True, "metric_names": ["accuracy"]}
    file.write_text(json.dumps(saved | {"labels": ["maybe", *saved["labels"][1:]]}))
    page = write_html([tmp_path / "run"], tmp_path / "report.html").read_text()
    assert "<img" in page and "recall" in page
