"""Verbs that other tests do not already run: prepare, train, evaluate, compare, report, doctor."""

from __future__ import annotations

import io
import json
import os
import shutil
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
    from sonolex.cli import doctor

    monkeypatch.setitem(doctor.OPTIONAL, "no_such_package", ("demo", "nothing"))
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "missing no_such_package (nothing)  →  pip install 'sonolex[demo]'" in text
    assert "FLAC" in text and "Opus" in text and "bf16" in text


def test_python_dash_m_runs():
    done = subprocess.run([sys.executable, "-m", "sonolex", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "prepare" in done.stdout


ESC = "\x1b]0;owned\x07\x1b[2J"


@pytest.fixture(scope="module")
def small_model(corpus, processor, tmp_path_factory):
    """A model folder whose task and classes have hostile names."""
    from sonolex.systems.base import build_system, system_type
    from sonolex.tasks.base import Model, build_task
    from sonolex.tasks.classification import ClassificationConfig
    from sonolex.train.checkpoint import save_model
    from tests.conftest import TINY

    system = build_system("ctal", system_type("ctal").matched(TINY, processor))
    task = ClassificationConfig("mood [1-5] \u202e", classes=(f"good{ESC}", "$10%-$20%"))
    folder = tmp_path_factory.mktemp("small") / "model"
    save_model(folder, Model(system, {task.name: build_task(task, system.pooled_dim)}), processor, provenance={})
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_predict_prints_json_that_no_file_name_or_class_can_break(small_model, encoding, corpus, tmp_path, monkeypatch):
    names = [
        f"a{ESC}.wav",
        "[red]x[bold] []].wav",
        "b\u202egpj.wav",
        "c\nd.wav",
        "ü怒.wav",
        os.fsdecode(b"caf\xe9\xff.wav"),
    ]
    for name in names:
        shutil.copy(corpus[0].audio, os.fsencode(tmp_path / name))
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["predict", str(small_model), *(str(tmp_path / n) for n in names)]) == 0
    stream.flush()
    printed = stream.buffer.getvalue().decode(encoding)
    assert all(line.isprintable() for line in printed.split("\n"))
    answers = [json.loads(line) for line in printed.splitlines()]
    assert [a["input"] for a in answers] == [str(tmp_path / n) for n in names]
    assert all(set(a["mood [1-5] \u202e"]["scores"]) == {f"good{ESC}", "$10%-$20%"} for a in answers)


def test_an_answer_that_is_no_number_is_an_error_and_no_line(small_model, corpus, capsys, monkeypatch):
    from sonolex.tasks.classification import Classification

    scores = Classification.scores
    monkeypatch.setattr(Classification, "scores", lambda self, encoding: scores(self, encoding) * float("nan"))
    assert main(["predict", str(small_model), corpus[0].audio]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "must be finite numbers" in told.err and "clip000.wav" in told.err


@pytest.mark.parametrize("verb", ["predict", "embed", "compare", "report", "fit", "evaluate", "doctor"])
def test_no_verb_repeats_a_hostile_word_as_it_is(verb, capsys):
    words = {"fit": ["--label", f"x{ESC}"], "evaluate": ["--protocol", f"p{ESC}"], "doctor": []}.get(verb, [])
    first = [] if verb == "doctor" else [f"nowhere{ESC}"]
    try:
        code = main([verb, *first, *words, *([f"--x{ESC}"] if verb == "doctor" else [])])
    except SystemExit as e:
        code = e.code
    told = capsys.readouterr()
    assert code == 2 and "\\x1b]0;owned" in told.err and told.out == ""
    assert all(line.isprintable() for line in told.err.split("\n"))


def test_a_terminal_without_our_signs_gets_the_table_all_the_same(tmp_path):
    from tests.saved_runs import make_run

    for seed in (0, 1):
        make_run(tmp_path / f"a{seed}", row="wütend", seed=seed)
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    words = [sys.executable, "-m", "sonolex", "compare", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, env=environment)
    assert done.returncode == 0 and b"w\\xfctend" in done.stdout and b"\\xb1" in done.stdout and not done.stderr


def test_evaluate_prints_json_whatever_the_numbers(tmp_path, capsys, monkeypatch):
    import sonolex.studies.evaluate

    scores = {"mood": {"d_prime": float("inf"), "map": 1.0, "mae": float("nan")}}
    results = {"protocol": f"p{ESC}", "fold": "one", "fingerprint": "abc", "scores": scores, "floors": {}}
    monkeypatch.setattr(sonolex.studies.evaluate, "evaluate_model", lambda *words, **options: results)
    assert main(["evaluate", "model", "--protocol", "p"]) == 0
    printed = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert printed["scores"]["mood"] == {"d_prime": None, "map": 1.0, "mae": None}
