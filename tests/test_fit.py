"""`sonolex fit` as a newcomer uses it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import sonolex
from sonolex.cli import main
from sonolex.data.manifest import ManifestError
from sonolex.evaluate import evaluate_model
from sonolex.fit import checked_table, fit, guess_task, with_splits


def write_csv(path: Path, corpus, columns: list[str], *, header: list[str] | None = None, breaks: int = 0) -> Path:
    with path.open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(header or columns)
        for number, clip in enumerate(corpus):
            values = {"audio": clip.audio, "text": clip.text, "speaker": clip.speaker, **clip.labels}
            if number < breaks:
                values["audio"] = str(path.parent / f"gone{number}.wav")
            writer.writerow([values[c] for c in columns])
    return path


@pytest.mark.parametrize(
    "columns", [["audio", "pitch"], ["audio", "text", "speaker", "pitch"], ["text", "speaker", "mood"]]
)
def test_a_plain_csv_becomes_a_model_a_report_and_a_command(columns, corpus, tmp_path):
    table = write_csv(tmp_path / "my.csv", corpus, columns)
    said: list[str] = []
    label = columns[-1]
    results = fit(table, label=label, epochs=12, out=tmp_path / "out", quiet=True, say=said.append)
    text = "\n".join(map(str, said))
    assert f"found: 48 clips with '{label}'" in text and "classification" in text
    assert ("by speaker" in text) == ("speaker" in columns) and ("WARNING" in text) == ("speaker" not in columns)
    assert results["scores"][label]["balanced_accuracy"] >= 0.75
    assert set(results["floors"][label]) == {"majority", "mfcc_svm", "log_mel_svm"}
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    command = next(s for s in said if str(s).startswith("predict with: ")).removeprefix("predict with: sonolex ")
    if "audio" in columns:
        assert main(command.split()) == 0
    saved = json.loads((tmp_path / "out" / "run" / "predictions" / f"{label}.json").read_text())
    clip = corpus.take(corpus.rows_of(saved["clip_ids"][:1]))[0] if "audio" in columns else None
    if clip is not None:
        answer = sonolex.predict(
            str(tmp_path / "out" / "run"), audio=clip.audio, text=clip.text if "text" in columns else None
        )
        expected = dict(zip(saved["options"]["classes"], saved["scores"][0], strict=True))
        assert answer[label]["scores"] == pytest.approx(expected, abs=2e-5)


def test_numbers_are_regression(corpus, tmp_path):
    table = write_csv(tmp_path / "my.csv", corpus, ["audio", "speaker", "height"])
    said: list[str] = []
    results = fit(table, label="height", epochs=3, out=tmp_path / "out", quiet=True, say=said.append)
    assert any("regression" in str(s) for s in said)
    assert {"mae", "pearson"} <= set(results["scores"]["height"])


def test_a_system_without_text_trains_on_the_audio_of_a_table_that_has_both(corpus, tmp_path):
    table = write_csv(tmp_path / "my.csv", corpus, ["audio", "text", "speaker", "pitch"])
    results = fit(table, label="pitch", system="ast", epochs=1, out=tmp_path / "out", quiet=True, say=lambda text: None)
    assert results["modalities"] == ["audio"] and "pitch" in results["scores"]
    again = evaluate_model(tmp_path / "out" / "run", str(tmp_path / "out" / "protocol.json"))
    assert again["modalities"] == ["audio"]
    assert again["scores"]["pitch"]["accuracy"] == pytest.approx(results["scores"]["pitch"]["accuracy"])
    texts = write_csv(tmp_path / "texts.csv", corpus, ["text", "speaker", "mood"])
    with pytest.raises(ValueError, match="ast reads, but are text only"):
        fit(texts, label="mood", system="ast", out=tmp_path / "never", quiet=True, say=lambda text: None)


def test_typos_in_the_header_and_ten_broken_rows_are_all_named(corpus, tmp_path):
    columns = ["audio", "text", "speaker", "pitch"]
    table = write_csv(tmp_path / "a.csv", corpus, columns, header=["audoi", "text", "speeker", "pich"])
    with pytest.raises(ManifestError) as caught:
        checked_table(table, label="pitch", skip_bad=False)
    text = str(caught.value)
    assert "'pich'" in text and "'audoi' looks like 'audio'" in text and "'speeker' looks like 'speaker'" in text
    table = write_csv(tmp_path / "b.csv", corpus, columns, breaks=10)
    with pytest.raises(ManifestError) as caught:
        checked_table(table, label="pitch", skip_bad=False)
    assert all(f"gone{i}.wav" in str(caught.value) for i in range(10)) and "--skip-bad" in str(caught.value)
    assert "has 10 problem(s)" in str(caught.value)
    kept = checked_table(table, label="pitch", skip_bad=True)
    assert len(kept.manifest) == 38 and len(kept.notes) == 10


def test_the_command_line_reports_mistakes_without_a_traceback(corpus, tmp_path, capsys):
    table = write_csv(tmp_path / "my.csv", corpus, ["audio", "pitch"])
    assert main(["fit", str(table), "--label", "pitsch", "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "pitsch" in message and "Did you mean 'pitch'" in message and "Traceback" not in message
    assert main(["fit", str(tmp_path / "none.csv"), "--label", "x"]) == 2


def test_tasks_are_guessed_and_said(corpus):
    assert guess_task(corpus, "pitch")[0] == "classification"
    kind, task, note = guess_task(corpus, "height")
    assert kind == "regression" and task["spread"] > 0 and "numbers" in note
    one = corpus.with_column("same", ["x"] * len(corpus))
    with pytest.raises(ManifestError, match="2 to 200"):
        guess_task(one, "same")


def test_given_splits_are_used_and_speakers_stay_apart(corpus):
    manifest, note = with_splits(corpus, "pitch", seed=0)
    assert "as given" in note and manifest.column("split") == corpus.column("split")
    bare = corpus.with_column("split", [None] * len(corpus))
    manifest, note = with_splits(bare, "pitch", seed=0)
    by_speaker = dict(zip(manifest.column("speaker"), manifest.column("split"), strict=True))
    assert all(by_speaker[c.speaker] == s for c, s in zip(manifest, manifest.column("split"), strict=True))
    assert set(by_speaker.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("label", "classes", "rows"),
    [
        ("../../a/b v1.0 [1-5]", ("$10%-$20%", "a;b/c.d"), 48),
        ("type", ("none", "_hidden"), 12),  # 12 rows: too few to report a t-SNE of, after all the training
        ("value", ("1", "2"), 24),  # also a name of the journal's
    ],
)
def test_a_column_of_any_name_and_classes_of_any_name_are_fitted_to_the_end(
    label, classes, rows, corpus, tmp_path, capsys
):
    values = [classes[i % 2] for i in range(rows)]
    table = write_csv(
        tmp_path / "my.csv",
        corpus.take(range(rows)).with_column(label, values),
        ["audio", "text", *(["speaker"] if rows > 12 else []), label],
    )
    assert main(["fit", str(table), "--label", label, "--epochs", "1", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert all(f"floor: {name}" in out for name in ("majority", "mfcc_svm", "log_mel_svm"))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "no report.html" not in out and page.count("data:image/png") >= 2
    assert ("too few clips (2)" in page) == (rows == 12)
    saved = json.loads((tmp_path / "out" / "run" / "results.json").read_text())
    assert set(saved["scores"]) == {label} and set(saved["floors"][label]) == {"majority", "mfcc_svm", "log_mel_svm"}
    again = evaluate_model(tmp_path / "out" / "run", str(tmp_path / "out" / "protocol.json"))
    assert again["scores"] == saved["scores"]
    assert {p.name for p in tmp_path.iterdir()} == {"my.csv", "out"}
