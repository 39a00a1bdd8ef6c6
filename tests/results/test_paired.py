from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sonolex.cli import main
from sonolex.results.compare import compare_runs
from sonolex.results.paired import difference_lines, differences
from tests.saved_runs import make_run, predictions


def _write(folder, right, fold="one"):
    """Give a run's clips, all of class "no", these right and wrong answers."""
    saved = predictions(np.zeros(len(right), int), 1 - np.asarray(right), fold=fold)
    (folder / "predictions" / "mood.json").write_text(json.dumps(saved))


def _two_rows(tmp_path, better, worse, seeds=(0, 1)):
    for seed in seeds:
        _write(make_run(tmp_path / f"a{seed}", row="better", seed=seed), better)
        _write(make_run(tmp_path / f"b{seed}", row="worse", seed=seed), worse)
    (table,) = compare_runs([tmp_path])
    return table


def test_a_difference_on_the_same_clips_is_known_better_than_either_score(tmp_path):
    rng = np.random.default_rng(0)
    worse = rng.random(60) < 0.5
    better = worse.copy()
    better[np.flatnonzero(~worse)[:6]] = True  # right wherever the other is, and on six more
    table = _two_rows(tmp_path, better.astype(int), worse.astype(int))
    by_row = {d.row: d for d in differences(table, "worse")}
    assert by_row["better"].mean == pytest.approx(0.1) and by_row["better"].by_seed == pytest.approx((0.1, 0.1))
    low, high = by_row["better"].interval
    assert 0.02 < low < 0.06 and 0.14 < high < 0.2 and by_row["better"].clear  # unpaired: about 0.18 wide each way


def test_a_difference_of_chance_is_not_clear(tmp_path):
    rng = np.random.default_rng(1)
    table = _two_rows(tmp_path, (rng.random(60) < 0.7).astype(int), (rng.random(60) < 0.7).astype(int))
    assert not next(d for d in differences(table, "worse") if d.row == "better").clear


def test_pairs_of_a_verification_are_not_drawn_and_seeds_say_what_is_clear(tmp_path):
    shifts = {"better": (0.0, 0.1, 0.2), "worse": (1.0, 1.2, 1.1), "close": (0.1, 0.3, 0.1)}  # of half of the vectors
    for row, by_seed in shifts.items():
        for seed, shift in enumerate(by_seed):
            folder = make_run(tmp_path / f"{row}{seed}", row=row, seed=seed)
            results = json.loads((folder / "results.json").read_text())
            (folder / "results.json").write_text(json.dumps(results | {"primary": "eer", "published": {}}))
            for floor in (folder / "floors").iterdir():
                floor.unlink()
            rng = np.random.default_rng(0)
            speakers = np.repeat([0, 1], 20)
            vectors = np.eye(2)[speakers] + rng.normal(size=(40, 2)) * (0.2 + shift)
            saved = {"scorer": "verification", "options": {}, "clip_ids": [f"one-{i}" for i in range(40)]}
            saved |= {"labels": [str(n) for n in speakers], "scores": vectors.tolist()}
            (folder / "predictions" / "mood.json").write_text(json.dumps(saved))
    (table,) = compare_runs([tmp_path])
    by_row = {d.row: d for d in differences(table, "better")}
    by_seed = np.array(by_row["worse"].by_seed)
    low, high = by_row["worse"].interval
    assert (low + high) / 2 == pytest.approx(by_seed.mean())
    assert (high - low) / 2 == pytest.approx(4.303 * by_seed.std(ddof=1) / 3**0.5, rel=1e-3)  # Student's t, two degrees
    assert by_row["worse"].clear and not by_row["close"].clear
    table.rows = [replace(r, saved={0: r.saved[0]}) for r in table.rows]
    assert {d.interval for d in differences(table, "better")} == {None}
    assert "interval over seeds" in "".join(difference_lines([table], "better"))


def test_clips_are_matched_by_id_not_by_place(tmp_path):
    right = np.arange(60) < 40
    table = _two_rows(tmp_path, right.astype(int), right.astype(int), seeds=(0,))
    saved = next(r for r in table.rows if r.name == "better").saved[0]
    for key in ("clip_ids", "labels", "scores"):
        saved[key] = saved[key][::-1]
    (better,) = [d for d in differences(table, "worse") if d.row == "better"]
    assert better.interval == (0.0, 0.0)
    saved["clip_ids"][0] = "somebody else"
    with pytest.raises(ValueError, match="same clips"):
        differences(table, "worse")


def test_the_command_prints_them_and_names_the_rows_there_are(tmp_path, capsys):
    _two_rows(tmp_path, np.ones(60, int), np.r_[np.ones(30, int), np.zeros(30, int)])
    assert main(["compare", str(tmp_path), "--against", "worse"]) == 0
    assert "+0.500 *" in capsys.readouterr().out
    assert main(["compare", str(tmp_path), "--against", "worse", "--markdown"]) == 0
    assert "| better | +0.500 * |" in capsys.readouterr().out
    assert main(["compare", str(tmp_path), "--against", "nobody"]) == 2
    assert "better" in capsys.readouterr().err
