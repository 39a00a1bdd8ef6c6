"""Pictures: nothing of a name is typeset, hidden or left out, and no set of vectors ends a report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sonolex.results import plots
from sonolex.results.compare import compare_runs
from sonolex.results.plots import Picture, plot_similarity, plot_sweep, projection, shown
from sonolex.train import journal
from tests.saved_runs import make_run, predictions

FORMULAS = ("$10%-$20%", "$\\frac{", "$x^", "_hidden", "\\alpha", "a" * 500, "怒り", "%s {0}")
RANDOM = np.random.default_rng(0).normal(size=(600, 5))


@pytest.mark.parametrize(
    ("vectors", "how"),
    [
        (RANDOM[:40], "t-SNE"),
        (RANDOM[:12], "t-SNE"),
        (RANDOM[:11], "principal components"),
        (RANDOM[:3, :1], "principal components"),
        (RANDOM[:2], "too few clips (2)"),
        (RANDOM[:1], "too few clips (1)"),
        (RANDOM[:0], "too few clips (0)"),
        (np.ones((40, 5)), "all its vectors are the same"),  # a segmentation fault of t-SNE
        (np.ones((2, 5)), "too few clips (2)"),
        (np.zeros((40, 0)), "all its vectors are the same"),
        (np.full((40, 5), 1e-310), "all its vectors are the same"),
        (np.where(RANDOM[:40] > 2, np.nan, RANDOM[:40]), "not finite"),
        (np.where(RANDOM[:40] > 2, np.inf, RANDOM[:40]).astype(np.float32), "not finite"),
        (np.repeat(RANDOM[:2], 20, 0), "t-SNE"),
        (RANDOM[:40, :1], "t-SNE"),
        (np.sign(RANDOM[:40]) * 1.7e308, "t-SNE"),
        (RANDOM[:40] * 1e-310, "t-SNE"),
    ],
)
def test_vectors_of_any_number_and_kind_are_drawn_or_a_sentence_gives_the_reason(vectors, how):
    picture = projection("a run", vectors, np.array(["anna", "ben"] * 300)[: len(vectors)])
    assert how in (picture.alt if isinstance(picture, Picture) else picture)
    assert isinstance(picture, Picture) == (how in ("t-SNE", "principal components"))


def test_formulas_and_hidden_names_are_drawn_as_they_are(tmp_path):
    true = np.arange(60) % len(FORMULAS)
    for share, row in zip((5, 50, 100), FORMULAS[:1] * 3, strict=True):
        run = make_run(tmp_path / f"a{share}", row=f"{row}, {share} % of labels", task="$m$")
        (run / "predictions" / "%24m%24.json").write_text(json.dumps(predictions(true, true, classes=FORMULAS)))
    (table,) = compare_runs([tmp_path])
    rows = [r for r in table.rows if r.runs]
    pictures = [plots.confusion(rows[0], rows[0].predictions), *plots.fractions(table)]
    pictures.append(projection(FORMULAS[0], RANDOM[:60], np.array(FORMULAS)[true]))
    assert len(pictures) == 3 and all(p.png.startswith(b"\x89PNG") for p in pictures)
    assert "60 of 60 clips are on the diagonal" in pictures[0].alt


def test_a_legend_names_what_begins_with_an_underscore_and_a_picture_cuts_what_is_long():
    assert shown("_hidden") == " _hidden" and shown("a") == "a"
    assert len(shown("x" * 500)) == plots.MOST_CHARACTERS and shown("x" * 500).endswith("…")
    assert shown("\x1b[31m") == "\\x1b[31m"
    with plots._figure(3, 3) as (figure, axes):
        axes.plot([1, 2], label=shown("_hidden"))
        axes.plot([1, 2], label=shown("$10%-$20%"))
        axes.set_yscale("linear")
        plots._legend(axes)
        drawn = [text.get_text() for text in axes.get_legend().get_texts()]
        assert drawn == [" _hidden", "$10%-$20%"] and not any(t.get_parse_math() for t in axes.get_legend().get_texts())
        figure.canvas.draw()
        assert not any(text.get_parse_math() for text in axes.get_xticklabels() + axes.get_yticklabels())


def test_a_character_that_no_font_has_is_reported():
    with plots._figure(3, 3) as (figure, axes):
        axes.set_title("\U000e1234")  # of no script
        assert plots._picture(figure, "a picture").lacks_characters
    with plots._figure(3, 3) as (figure, axes):
        axes.set_title("ä")
        assert not plots._picture(figure, "a picture").lacks_characters


def test_rows_whose_shares_are_no_numbers_are_rows_like_others(tmp_path):
    for number, share in enumerate(("...", "1.2.3", "9" * 400, "50")):
        make_run(tmp_path / f"a{number}", row=f"model, {share} % of labels")
    (table,) = compare_runs([tmp_path])
    assert list(plots.fraction_curves(table.rows, "accuracy")) == ["model"]


def test_losses_of_any_sign_and_length_are_drawn(tmp_path):
    for name, losses in {"one": [1.0], "none": [], "negative": [-1.0] * 30, "zero": [0.0] * 30}.items():
        (tmp_path / name).mkdir()
        book = journal.Journal(tmp_path / name)
        for step, loss in enumerate(losses):
            book.write("step", {"total": loss}, step=step)
    results = [{"run": name, "folder": tmp_path / name} for name in ("one", "none", "negative", "zero", "absent")]
    assert "3 runs" in plots.learning_curves(results).alt
    assert "1 runs" in plots.learning_curves(results[:2]).alt and plots.learning_curves([]) is None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("sweep.json", [], "must hold an object"),
        ("sweep.json", {"best": {}, "importance": {}, "trials": [5]}, "`trials`"),
        ("sweep.json", {"best": {}, "importance": {"a": "<b>"}, "trials": []}, "`importance`"),
        (
            "sweep.json",
            {
                "best": {"lr": 1},
                "importance": {},
                "trials": [{"number": 0, "state": "complete", "value": 1.0, "values": {}}],
            },
            "`trials` of",
        ),
        ("similarity.json", {}, "`rows`"),
        ("similarity.json", {"rows": [{"place": "input", "cka": "1", "recall_at_1": 0, "chance": 0}]}, "`rows.cka`"),
    ],
)
def test_files_that_are_no_sweep_or_similarity_are_refused(file, content, message, tmp_path):
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as e:
        (plot_sweep if file == "sweep.json" else plot_similarity)(tmp_path)
    assert "\n" not in str(e.value)


def test_sweeps_and_layers_of_hostile_names_are_drawn(tmp_path):
    trials = [
        {"number": n, "state": "complete", "value": n / 3, "values": {"$lr$": 10.0**-n, "_x": FORMULAS[n % 8]}}
        for n in range(9)
    ]
    sweep = {"best": {"$lr$": 1.0, "_x": "a"}, "importance": {"$lr$": 0.5}, "trials": trials}
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    rows = [{"place": place, "cka": 0.5, "recall_at_1": 0.1, "chance": 0.1} for place in FORMULAS]
    (tmp_path / "similarity.json").write_text(json.dumps({"rows": rows}))
    assert plot_sweep(tmp_path).read_bytes().startswith(b"\x89PNG")
    assert plot_similarity(tmp_path).read_bytes().startswith(b"\x89PNG")
