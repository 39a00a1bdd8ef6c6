"""`sonolex fit` as a newcomer uses it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import sonolex
from sonolex.cli import main
from sonolex.data.manifest import Manifest, ManifestError, read_manifest
from sonolex.data.parts import divide
from sonolex.doors.fit import fit
from sonolex.doors.fit.table import checked_table
from sonolex.doors.fit.tasks import guess_task
from sonolex.studies.evaluate import evaluate_model
from tests.conftest import write_tone


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
    results = fit(table, label=label, minutes=0.01, out=tmp_path / "out", quiet=True, say=said.append)
    text = "\n".join(map(str, said))
    assert f"found: 48 clips with '{label}'" in text and "classification" in text
    assert ("no speaker in two of them" in text) == ("speaker" in columns)
    assert ("no column 'speaker'" in text) == ("speaker" not in columns)
    assert results["scores"][label]["balanced_accuracy"] >= 0.75
    of_audio, of_words = ({"mfcc_svm", "log_mel_svm"} if "audio" in columns else set()), {"words_logistic"}
    assert set(results["floors"][label]) == {"majority"} | of_audio | (of_words if "text" in columns else set())
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    command = next(s for s in said if str(s).startswith("predict with: ")).removeprefix("predict with: sonolex ")
    if "audio" in columns:
        assert main(command.split()) == 0
    assert all(word in text for word in ("The winner is ", "the best floor", "report: ", "model: "))
    model = sonolex.load(str(tmp_path / "out" / "run"))
    answers = model.predict(
        audio=[c.audio for c in corpus] if "audio" in columns else None,
        text=[c.text for c in corpus] if "text" in columns else None,
    )
    right = [a[label]["label"] == c.labels[label] for a, c in zip(answers, corpus, strict=True)]
    assert sum(right) >= 40  # it has learned from all of them


def test_numbers_are_regression(corpus, tmp_path):
    table = write_csv(tmp_path / "my.csv", corpus, ["audio", "speaker", "height"])
    said: list[str] = []
    results = fit(table, label="height", minutes=0.01, out=tmp_path / "out", quiet=True, say=said.append)
    assert any("regression" in str(s) for s in said)
    assert {"mae", "pearson"} <= set(results["scores"]["height"])


def test_a_system_without_text_trains_on_the_audio_of_a_table_that_has_both(corpus, tmp_path):
    table = write_csv(tmp_path / "my.csv", corpus, ["audio", "text", "speaker", "pitch"])
    options = {"system": "ast", "epochs": 1, "folds": "none", "quiet": True, "say": lambda text: None}
    results = fit(table, label="pitch", out=tmp_path / "out", **options)
    assert results["modalities"] == ["audio"] and "pitch" in results["scores"]
    again = evaluate_model(tmp_path / "out" / "run-system-ast-epochs-1", str(tmp_path / "out" / "protocol.json"))
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


def moods(manifest):
    return manifest.column("mood")


def test_given_splits_are_used_and_speakers_stay_apart(corpus):
    given = divide(corpus, strata=moods(corpus), seed=0)
    assert "as given" in given.notes[0] and given.manifest.column("split") == corpus.column("split")
    bare = corpus.with_column("split", [None] * len(corpus))
    divided = divide(bare, strata=moods(corpus), seed=0)
    parts = divided.manifest.column("split")
    by_speaker = dict(zip(corpus.column("speaker"), parts, strict=True))
    assert all(by_speaker[c.speaker] == s for c, s in zip(corpus, parts, strict=True))
    assert set(by_speaker.values()) == {"train", "validation", "test"} and not divided.warnings


@pytest.mark.parametrize(
    ("label", "because"),
    [
        ("text", "is what a model reads"),
        ("transcript", "is what a model reads"),
        ("path", "is what a model reads"),
        ("split", "divides the table"),
        ("fold", "divides the table"),
        ("id", "names clips and recordings"),
        ("duration", "describes the audio file"),
        ("offset_s", "describes the audio file"),
        ("sampling_rate", "describes the audio file"),
    ],
)
def test_columns_that_are_no_question_are_refused_with_a_reason(label, because, corpus, tmp_path, capsys):
    table = write_csv(tmp_path / "my.csv", corpus, ["audio", "text", "pitch"])
    assert main(["fit", str(table), "--label", label, "--out", str(tmp_path / "out")]) == 2
    assert f"but {label!r} {because}" in capsys.readouterr().err and not (tmp_path / "out").exists()


def words_table(path: Path, column: str, names: list[str], *, speakers: int = 6) -> Path:
    """Write a table of sentences, the first word of which says what ``column`` holds."""
    rows = [
        {
            "text": f"{names[i % len(names)]} {['one', 'two', 'three', 'four'][i // 3 % 4]}",
            "speaker": f"s{i // 8 % speakers}",
            column: names[i % len(names)],
        }
        for i in range(48)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("label", ["language", "session", "speaker"])
def test_standard_columns_that_are_a_question_really_train(label, tmp_path):
    table = words_table(tmp_path / "t.jsonl", label, ["anna", "berta"] if label == "speaker" else ["de", "en"])
    said: list[str] = []
    options = {"minutes": 0.01, "quiet": True, "say": lambda t: said.append(str(t))}
    results = fit(table, label=label, out=tmp_path / "out", **options)
    assert results["scores"][label]["accuracy"] > 0.8  # every training clip had its label, and the words give it away
    assert ("folds: 5, of clips at random" in "\n".join(said)) == (label == "speaker")
    assert not any("flatter" in line for line in said)


def test_the_same_command_after_the_table_or_the_audio_changed_is_refused_and_changes_nothing(corpus, tmp_path):
    corpus = corpus.take(range(0, 48, 2)).with_column("split", [None] * 24)
    audio = tmp_path / "audio"
    audio.mkdir()
    for clip in corpus:
        shutil.copy(str(clip.audio), audio)
    here = corpus.with_column("audio", [f"audio/{i}.wav" for i in corpus.column("id")])
    here = Manifest(here.table, root=tmp_path)
    columns = ["audio", "text", "speaker", "mood"]
    table = write_csv(tmp_path / "my.csv", here, columns)

    def again(**options):
        given = {"folds": "none", "minutes": 0.01, "quiet": True, "say": lambda t: None}
        return fit(table, label="mood", out=tmp_path / "out", **(given | options))

    first = again()
    before = contents(tmp_path / "out")
    assert again()["scores"] == first["scores"]
    changed = here.with_column("mood", ["bad" if m == "good" and i < 3 else m for i, m in enumerate(moods(here))])
    write_csv(tmp_path / "my.csv", changed, columns)
    with pytest.raises(ValueError, match=r"the label 'mood' of 2 clips changed \('clip000', .*Name another folder"):
        again()
    write_csv(tmp_path / "my.csv", here, columns)
    with pytest.raises(ValueError, match="the split of"):
        again(split_seed=1)
    shutil.copy(audio / "clip002.wav", audio / "clip000.wav")
    with pytest.raises(ValueError, match=r"the audio of 1 clips changed \('clip000'\)"):
        again()
    write_csv(tmp_path / "my.csv", here.take(range(20)), columns)
    with pytest.raises(ValueError, match="4 clips were removed"):
        again()
    assert contents(tmp_path / "out") == before
    tested = read_manifest(tmp_path / "out" / "manifest.arrow").where(split="test").column("id")[0]
    write_tone(audio / f"{tested}.wav", hz=500, seconds=0.5)
    with pytest.raises(ValueError, match=f"audio_digest, but 1 clips do not, for example '{tested}'"):
        evaluate_model(tmp_path / "out" / "run", str(tmp_path / "out" / "protocol.json"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and ".locks" not in p.parts}


def test_clips_and_transcripts_that_are_too_long_are_all_named_or_all_left_out(corpus, tmp_path, monkeypatch):
    write_tone(tmp_path / "long.wav", hz=300, seconds=61.0)
    rows = [{"audio": str(c.audio), "text": c.text, "mood": c.labels["mood"], "speaker": c.speaker} for c in corpus]
    rows[3]["audio"] = rows[4]["audio"] = str(tmp_path / "long.wav")
    table = tmp_path / "t.jsonl"
    for i, row in enumerate(rows):
        row["id"] = f"c{i}"
    table.write_text("\n".join(map(json.dumps, rows)))
    options = {"label": "mood", "system": "ctal", "quiet": True}
    with pytest.raises(ManifestError) as caught:
        fit(table, out=tmp_path / "out", say=lambda t: None, **options)
    assert len(caught.value.problems) == 2 and "less than 60.0125 s for ctal, but lasts 61.00 s" in str(caught.value)
    rows[7]["text"] = "word " * 600
    table.write_text("\n".join(map(json.dumps, rows)))

    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sonolex.doors.fit.door.measured", stop)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        fit(table, out=tmp_path / "out", skip_bad=True, say=lambda t: said.append(str(t)), **options)
    kept = read_manifest(tmp_path / "out" / "manifest.arrow").column("id")
    assert sorted({f"c{i}" for i in range(48)} - set(kept)) == ["c3", "c4", "c7"]
    assert sum(line.startswith("left out") for line in said) == 3
    with pytest.raises(ManifestError, match=r"line 4: audio must last less than"):
        fit(table, out=tmp_path / "out2", say=lambda t: None, **options)


def test_numbers_with_a_decimal_comma_are_no_classes(tmp_path, capsys):
    lines = [f'words,"{i % 3},{i % 10}"' for i in range(20)]
    (tmp_path / "t.csv").write_text("text,height\n" + "\n".join(lines))
    assert main(["fit", str(tmp_path / "t.csv"), "--label", "height"]) == 2
    assert "must be numbers with a decimal point, but holds '0,0'" in capsys.readouterr().err


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
    assert (
        main(["fit", str(table), "--label", label, "--minutes", "0.01", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    )
    out = capsys.readouterr().out
    assert all(f"floor: {name}" in out for name in ("majority", "mfcc_svm", "log_mel_svm"))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "no report.html" not in out and page.count("data:image/png") >= 2
    saved = json.loads((tmp_path / "out" / "run" / "results.json").read_text())
    floors = {"majority", "mfcc_svm", "log_mel_svm", "words_logistic"}
    assert set(saved["scores"]) == {label} and set(saved["floors"][label]) == floors
    with pytest.raises(ValueError, match="has learned from all of"):
        evaluate_model(tmp_path / "out" / "run", str(tmp_path / "out" / "protocol.json"), fold="1")
    assert {p.name for p in tmp_path.iterdir()} == {"my.csv", "out"}
