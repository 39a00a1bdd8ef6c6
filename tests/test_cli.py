"""Verbs that other tests do not already run: prepare, train, evaluate, compare, report, doctor."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sonolex.cli import main
from sonolex.data.manifest import read_manifest


def test_prepare_writes_a_manifest_and_takes_the_corpus_options(shared_data, tmp_path, capsys):
    words = ["prepare", "emodb", "--root", str(shared_data / "emodb4"), "--out", str(tmp_path / "m.parquet")]
    assert main([*words, "--emotions", "angry", "happy", "neutral", "sad"]) == 0
    assert "found 339 of 339" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "m.parquet")
    assert len(manifest) == 339 and manifest.durations_s.min() > 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("cli")
    words = ["train", "quickstart", "--out", str(folder), "--quiet", "--size", "tiny", "--epochs", "1"]
    assert main([*words, "--pretrain-epochs", "1"]) == 0
    return folder


def test_train_compare_and_report(trained, capsys):
    assert main(["compare", str(trained)]) == 0
    text = capsys.readouterr().out
    assert "floor: mfcc_svm" in text and "CTAL-tiny, both" in text and "tonewords_all · sarcasm" in text
    assert main(["report", str(trained)]) == 0
    assert (trained / "report.html").stat().st_size > 20_000


def test_evaluate_gives_the_scores_of_training(trained, tmp_path, capsys, monkeypatch):
    from sonolex.data.corpora import tonewords

    whole = tonewords.prepare
    monkeypatch.setattr(tonewords, "prepare", lambda **options: whole(**{"size": "tiny"} | options))
    words = ["evaluate", str(trained / "finetune-both"), "--protocol", "tonewords_all", "--out", str(tmp_path / "e")]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out.split("\n", 0)[0])
    saved = json.loads((trained / "finetune-both" / "results.json").read_text())
    assert printed["fingerprint"] == saved["fingerprint"]
    for task, scores in saved["scores"].items():
        assert printed["scores"][task] == pytest.approx(scores, abs=1e-9)
    assert main(["compare", str(trained), str(tmp_path / "e")]) == 0
    assert main(["evaluate", str(trained / "pretrain"), "--protocol", "tonewords_all"]) == 2
    assert "lacks tone" in capsys.readouterr().err


def test_mistakes_suggest_the_right_name(capsys):
    assert main(["train", "quikstart"]) == 2
    assert "Did you mean 'quickstart'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", "model", "--wrong"])
    assert "--wrong" in capsys.readouterr().err


def test_doctor_names_what_is_missing_and_the_extra(capsys, monkeypatch):
    from sonolex import doctor

    monkeypatch.setitem(doctor.OPTIONAL, "no_such_package", ("demo", "nothing"))
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "missing no_such_package (nothing)  →  pip install 'sonolex[demo]'" in text
    assert "FLAC" in text and "Opus" in text and "bf16" in text


def test_python_dash_m_runs():
    done = subprocess.run([sys.executable, "-m", "sonolex", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "prepare" in done.stdout
