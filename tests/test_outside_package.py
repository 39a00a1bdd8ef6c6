"""The package of docs/extend.md: a corpus, task, protocol, system and recipe outside sonolex, in every verb."""

from __future__ import annotations

import json
import re
import shutil
import sys

import numpy as np
import pytest
import soundfile

import sonolex
from sonolex.cli import main
from sonolex.results.compare import compare_runs
from tests.test_docs import ROOT

FILES = re.findall(r"```python (mine/\w+\.py)\n(.*?)```", (ROOT / "docs/extend.md").read_text("utf-8"), re.DOTALL)
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the package and hums of four singers."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "mine").mkdir()
    for name, code in FILES:
        (folder / name).write_text(code, encoding="utf-8")
    (folder / "hums").mkdir()
    rng = np.random.default_rng(0)
    for singer in ("anna", "ben", "carla", "dirk"):
        for index, hz in enumerate(rng.integers(200, 900, 20)):
            time_S = np.arange(int(rng.uniform(0.3, 0.6) * RATE_HZ)) / RATE_HZ
            wave_S = 0.3 * np.sin(2 * np.pi * hz * time_S) + 0.01 * rng.normal(size=len(time_S))
            soundfile.write(folder / "hums" / f"{singer}_{hz}_{index}.wav", wave_S, RATE_HZ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SONOLEX_DATA", str(folder))
        patch.syspath_prepend(folder)
        yield folder
    for name in [n for n in sys.modules if n.partition(".")[0] == "mine"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def runs(place):
    """Two trained runs."""
    words = ["train", "mine.pitch_of_hums", "--epochs", "15", "--out", str(place / "runs"), "--quiet"]
    assert main(words) == 0
    return place / "runs"


def test_the_guide_has_one_file_of_each():
    assert len(FILES) == 5 and sum(code.count("\nSYSTEM = ") + code.count("\nTASK = ") for _, code in FILES) == 2


def test_a_corpus_is_prepared_with_its_options(place, capsys):
    out = place / "hums.csv"
    words = ["prepare", "mine.hums", "--root", str(place / "hums"), "--lowest-hz", "400", "--out", str(out)]
    assert main(words) == 0
    assert 20 < len(out.read_text().splitlines()) < 80 and "clips" in capsys.readouterr().out


def test_training_beats_the_tasks_floor_and_the_same_command_again_trains_nothing(runs, capsys):
    before = {p: p.stat().st_mtime_ns for p in runs.rglob("model.safetensors")}
    assert main(["train", "mine.pitch_of_hums", "--epochs", "15", "--out", str(runs), "--quiet"]) == 0
    assert before == {p: p.stat().st_mtime_ns for p in runs.rglob("model.safetensors")}
    results = json.loads((runs / "pitch-0" / "results.json").read_text())
    assert results["scores"]["pitch"]["cents"] < results["floors"]["pitch"]["median"]["cents"]


def test_files_name_the_modules_and_loading_needs_trust(runs, place, capsys):
    saved = json.loads((runs / "pitch-0" / "model" / "config.json").read_text())
    assert saved["system"] == "mine.mean_spectrum" and saved["tasks"][0]["kind"] == "mine.pitch"
    with pytest.raises(ValueError, match="--trust-code"):
        sonolex.load(str(runs / "pitch-0"))
    model = sonolex.load(str(runs / "pitch-0"), trust_code=True)
    model.save(place / "copy")
    again = sonolex.load(str(place / "copy"), trust_code=True)
    hum = str(next((place / "hums").iterdir()))
    assert model.predict(audio=hum) == again.predict(audio=hum)
    assert main(["predict", str(place / "copy"), hum]) == 2 and "--trust-code" in capsys.readouterr().err
    assert main(["predict", str(place / "copy"), hum, "--trust-code"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert abs(np.log2(answer["pitch"]["hz"] / float(hum.split("_")[-2]))) < 1


def test_evaluation_gives_the_scores_of_the_training(runs, place, capsys):
    words = ["evaluate", str(runs / "pitch-1"), "--protocol", "mine.unseen_singers", "--out", str(place / "again")]
    assert main(words) == 2 and "--trust-code" in capsys.readouterr().err
    assert main([*words, "--trust-code"]) == 0
    found = [json.loads((p / "results.json").read_text()) for p in (runs / "pitch-1", *place.glob("again*"))]
    assert found[0]["fingerprint"] == found[1]["fingerprint"]
    assert found[0]["scores"]["pitch"] == pytest.approx(found[1]["scores"]["pitch"], rel=1e-4)


@pytest.mark.parametrize("verb", ["compare", "report"])
def test_tables_run_the_tasks_code_only_when_told(verb, runs, place, capsys):
    assert main([verb, str(runs)]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert str(runs / "pitch-0") in said and "'mine.pitch'" in said and "add --trust-code" in said
    if verb == "report":
        pytest.importorskip("matplotlib")
    assert main([verb, str(runs), "--trust-code"]) == 0
    lines = capsys.readouterr().out.splitlines()
    median, ours = (next(line for line in lines if name in line) for name in ("floor: median", "mean spectrum"))
    assert "best floor" in median and "below" not in ours and ours.split()[-1] == "2"
    (table,) = compare_runs([runs], trust_code=True)
    assert table.less_is_better and table.primary == "cents" and all(r.interval for r in table.rows)


def test_a_recipe_that_the_user_names_may_name_its_tasks(runs, capsys):
    assert main(["table", "mine.pitch_of_hums", "--epochs", "15", "--out", str(runs), "--quiet"]) == 0
    assert "mean spectrum" in capsys.readouterr().out


def test_a_run_folder_that_names_code_runs_none_of_it(runs, tmp_path, monkeypatch, capsys):
    """Predictions name their scorer; a stranger's would have been imported by `compare`."""
    (tmp_path / "payload").mkdir()
    (tmp_path / "payload" / "task.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    shutil.copytree(runs / "pitch-0", tmp_path / "run")
    file = tmp_path / "run" / "predictions" / "pitch.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"scorer": "payload.task"}))
    assert main(["compare", str(tmp_path / "run")]) == 2 and "payload.task" in capsys.readouterr().err
    assert not [name for name in sys.modules if name.startswith("payload")]
