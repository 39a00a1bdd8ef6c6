"""CTAL's tables: one row end to end under every protocol of the paper, on miniatures of the official layouts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sonolex.data.corpora import librispeech
from sonolex.recipes.ctal4 import MATCHED, PUBLISHED, ROWS, matched_ffn_width, num_in_layers, recipe, sized
from sonolex.results.plots import FRACTION
from sonolex.train.series import train_all
from tests.data.corpora.miniatures import make_iemocap, make_librispeech, make_mosei

LIBRISPEECH = (*librispeech.TRAIN_960, "dev-clean", "test-clean")
FOLDERS = {
    "iemocap4": ("IEMOCAP", make_iemocap, 5),
    "iemocap4_excited": ("IEMOCAP", make_iemocap, 5),
    "mosei_sentiment": ("CMU-MOSEI", make_mosei, 1),
    "librispeech_verification": ("LibriSpeech", lambda root: make_librispeech(root, LIBRISPEECH), 1),
}


@pytest.mark.parametrize("protocol", FOLDERS)
def test_a_row_end_to_end_under_every_protocol_of_the_paper(protocol, tmp_path, monkeypatch):
    folder, make, num_folds = FOLDERS[protocol]
    make(tmp_path / folder)
    monkeypatch.setenv("SONOLEX_DATA", str(tmp_path))
    runs = recipe(protocol=protocol, rows=("MDRE",), seeds=(0,), epochs=1, strict=False)
    assert len(runs) == num_folds
    (result, *_) = train_all(runs[:1], tmp_path / "runs", quiet=True, say=lambda text: None)
    assert result["row"] == "MDRE" and result["protocol"] == protocol and len(result["fingerprint"]) == 12
    (scores,) = result["scores"].values()
    assert result["primary"] in scores and result["floors"]


def test_rows_are_those_that_the_protocol_can_fill(shared_data, monkeypatch):
    monkeypatch.setenv("SONOLEX_DATA", str(shared_data))
    both = {r.row for r in recipe(seeds=(0,)) if r.row}
    audio_rows = {r.row for r in recipe(protocol="fsdd_verification", seeds=(0,)) if r.row}
    assert {c.row for c in ROWS} - both == {"GE2E", "RawNet"}
    with_words = {r.row for r in recipe(protocol="fsdd_verification_with_words", seeds=(0,)) if r.row}
    assert {c.row for c in ROWS} - with_words == {"RoBERTa alone", "(e) text outputs only"}
    assert with_words - audio_rows == {"(d) no orthogonal fusion, as printed", "(f) audio outputs only"}
    with pytest.raises(ValueError, match="`rows` must be of CTAL"):
        recipe(rows=("CTAL-HUGE",))
    assert all(any(name.split(" ")[0] in c.row for c in ROWS) for name in PUBLISHED if name != "CTAL-BASE")


def test_a_figure_has_shares_of_the_labels_and_another_draw_with_each_seed():
    runs = [r for r in recipe(figure="fractions", seeds=(0, 1)) if r.row]
    assert len(runs) == 2 * 2 * 4 and len({r.row for r in runs}) == 8
    assert {(r.data.train[0].share, r.data.train[0].draw) for r in runs} == {
        (share, seed) for share in (0.1, 0.25, 0.5, 1.0) for seed in (0, 1)
    }
    assert len({r.data.train[0].share * r.budget.epochs for r in runs}) == 1  # as many steps
    assert all(FRACTION.search(r.row) for r in runs)  # so that `sonolex report` draws them


@pytest.mark.parametrize(("size", "layers"), [("small", 2), ("base", 3)])
def test_transformers_are_as_large_as_ctal(size, layers):
    counted, depths = {}, {}
    for cell in ROWS:
        if cell.system in MATCHED:
            config = sized(cell, size)
            width, depths[cell.row] = matched_ffn_width(config, cell.system, size), config.num_layers
            counted[cell.row] = num_in_layers(cell.system, replace(config, ffn_width=width))
    assert all(abs(n / counted["CTAL"] - 1) < 0.01 for n in counted.values()), counted
    assert depths["CTAL"] == layers and depths["Mockingjay alone"] == 3
    assert depths["VisualBERT-style"] == 2 * layers == depths["RoBERTa alone"] and depths["LXMERT-style"] == layers - 1
