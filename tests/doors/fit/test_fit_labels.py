"""Labels of every kind through `sonolex fit`: several a clip, several columns, scales, spellings, folders."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from sonolex.cli import main
from sonolex.data.labels import near_lines, variant_lines
from sonolex.data.manifest import ManifestError, manifest_from_rows
from sonolex.doors.fit.table import checked_table
from sonolex.doors.fit.tasks import guess_task, guess_tasks, strata_of
from sonolex.results.compare import compare_runs

WORDS = ("glad", "sad", "calm")


def rows_of(number: int = 48, **columns) -> list[dict]:
    """Return rows of sentences whose first word gives labels away; a column is a function of the row's number."""
    rows = [{"text": f"{WORDS[i % 3]} word {i % 5}", "speaker": f"s{i // 6 % 8}"} for i in range(number)]
    return [row | {name: of(i) for name, of in columns.items()} for i, row in enumerate(rows)]


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def fit(*words: object) -> int:
    return main(["fit", *map(str, words), "--epochs", "1", "--minutes", "0.01", "--quiet"])


def refused(capsys, *words: object) -> str:
    assert fit(*words) == 2
    return capsys.readouterr().err


@pytest.fixture
def untrained(monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sonolex.locks.locked", stop)  # the folder is taken once everything has been said of the table


def said(capsys, *words: object) -> str:
    """Return what `fit` says before it trains."""
    assert fit(*words) == 130
    return capsys.readouterr().out


def model_of(out: str) -> str:
    """Return the folder that `fit` names in the command that predicts."""
    return next(line for line in out.splitlines() if line.startswith("predict with: ")).split()[4]


# several labels a clip


def test_lists_of_labels_are_tagging_from_the_table_to_the_prediction(tmp_path, capsys):
    tags = lambda i: [] if i == 5 else [WORDS[i % 3], *(["even"] if i % 2 == 0 else [])]  # noqa: E731
    table = write_rows(tmp_path / "t.jsonl", rows_of(tags=tags))
    assert fit(table, "--label", "tags", "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "task: tagging, several labels a clip (1.5 on average, 1 clips with none)" in out
    assert "--task classification makes every combination a class" in out and "mean_binary_f1" in out
    assert main(["predict", model_of(out), "--text", "glad word 1"]) == 0
    answer = json.loads(capsys.readouterr().out)["tags"]
    assert set(answer["scores"]) == {*WORDS, "even"} and set(answer["labels"]) <= set(answer["scores"])


def test_a_separator_makes_labels_of_a_cell(tmp_path, capsys, untrained):
    lines = [f"{r['text']},{r['speaker']},{WORDS[i % 3]}{' | even' if i % 2 else ''}" for i, r in enumerate(rows_of())]
    (tmp_path / "t.csv").write_text("\n".join(["text,speaker,tags", *lines]))
    guessed = said(capsys, tmp_path / "t.csv", "--label", "tags", "--out", tmp_path / "a")
    assert "classification" in guessed and "look like several labels: if they are, --multilabel '|'" in guessed
    asked = said(capsys, tmp_path / "t.csv", "--label", "tags", "--multilabel", "|", "--out", tmp_path / "b")
    assert "task: tagging" in asked and "calm (16), even (24), glad (16), sad (16)" in asked
    read = checked_table(tmp_path / "t.csv", label="tags", multilabel="|", skip_bad=False)
    assert read.manifest.column("tags")[:2] == ["glad", "sad;even"] and read.several == ("tags",)
    rows = rows_of(age=lambda i: i % 7, tags=lambda i: f"{WORDS[i % 3]}|even" if i % 2 else WORDS[i % 3])
    table = write_rows(tmp_path / "both.jsonl", rows)
    both = said(capsys, table, "--label", "age,tags", "--multilabel", "|", "--out", tmp_path / "c")
    assert "task: classification, because 'age'" in both and "task: tagging" in both
    message = refused(capsys, table, "--label", "age", "--multilabel", "|")
    assert "'age' must have cells with '|' between labels, but no cell has it" in message
    (tmp_path / "t.csv").write_text("text,tags\nx,a;b|c\n")
    assert "line 2: tags must be a list of labels without ';'" in refused(
        capsys, tmp_path / "t.csv", "--label", "tags", "--multilabel", "|"
    )


def test_labels_joined_by_semicolons_are_several_only_where_they_recur():
    several = manifest_from_rows(rows_of(tags=lambda i: ["a;b", "b", "c"][i % 3]))
    assert guess_task(several, "tags").kind == "tagging"
    assert guess_task(several, "tags", kind="classification").settings["classes"] == ["a;b", "b", "c"]
    once = manifest_from_rows(rows_of(tags=lambda i: ["a;b", "c"][i % 2]))
    assert guess_task(once, "tags").kind == "classification"


# several columns


def test_several_columns_are_tasks_of_one_model_each_with_its_own_missing_labels(tmp_path, capsys):
    rows = rows_of(
        arousal=lambda i: 1 + i % 7, valence=lambda i: (i % 3) / 2, mood=lambda i: None if i in (4, 9) else WORDS[i % 3]
    )
    rows[3] |= {"arousal": None, "valence": None, "mood": None}
    table = write_rows(tmp_path / "t.jsonl", rows)
    words = ["--label", "arousal, valence", "--label", "mood", "--task", "arousal=regression"]
    assert fit(table, *words, "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "task: regression, as --task says (1 to 7)" in out and "'valence' holds numbers (0 to 1)" in out
    assert "left out: 1 rows without 'arousal', 'valence' or 'mood': line 4" in out
    assert "'mood' is missing in 2 of the 47 rows, which count only for the other labels" in out
    tables = {t.task: t for t in compare_runs([tmp_path / "out"])}
    assert set(tables) == {"arousal", "valence", "mood"}
    assert {"mae", "ccc", "pearson"} <= set(tables["arousal"].rows[-1].by_seed[0])
    assert main(["predict", model_of(out), "--text", "glad word 1"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"input", "arousal", "valence", "mood"} and "value" in answer["valence"]
    rows[0]["mood"] = "sad"
    write_rows(table, rows)
    assert "the label 'mood' of 1 clips changed" in refused(capsys, table, *words, "--out", tmp_path / "out")


def test_the_parts_get_their_share_of_the_first_question_of_classes():
    manifest = manifest_from_rows(rows_of(age=lambda i: i / 7, mood=lambda i: WORDS[i % 3], tags=lambda i: "a;b"))
    of = lambda *labels: strata_of(manifest, guess_tasks(manifest, labels, several=["tags"]))  # noqa: E731
    assert of("age") is None and of("age", "mood") == manifest.column("mood")
    assert set(of("age", "tags") or ()) == {"a"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "`--label` must name the column to predict, for example one of ['age', 'mood']"),
        (["--label", "mood,mood"], "`--label` must name different columns, but names 'mood' twice"),
        (["--label", "mood", "--label", "agee"], "column 'agee' is missing; it has"),
        (["--label", "mood,text"], "but 'text' is what a model reads"),
        (["--label", "mood", "--task", "regresion"], "but is 'regresion'. Did you mean 'regression'?"),
        (["--label", "mood", "--task", "age=regression"], "COLUMN=KIND with a column of --label (mood)"),
        (
            ["--label", "mood,age", "--task", "regression"],
            "'mood' must hold different numbers for regression, but holds",
        ),
        (["--label", "mood", "--speaker-column", "who"], "column 'who' (--speaker-column) is missing"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused_in_one_line(words, problem, tmp_path, capsys):
    table = write_rows(tmp_path / "t.jsonl", rows_of(age=lambda i: i / 7, mood=lambda i: WORDS[i % 3]))
    assert problem in refused(capsys, table, *words, "--out", tmp_path / "out") and not (tmp_path / "out").exists()


# scales and numbers


def test_points_of_a_scale_are_classes_or_numbers_as_the_user_says(tmp_path, capsys, untrained):
    table = write_rows(tmp_path / "t.jsonl", rows_of(likert=lambda i: 1 + i % 7, fine=lambda i: 1 + (i % 4) / 2))
    guessed = said(capsys, table, "--label", "likert", "--out", tmp_path / "a")
    assert "classification, because 'likert' holds 7 different values: 1 (7)" in guessed
    assert (
        "whole numbers, 1 to 7, and each is a class of its own. If they are points of a scale, --task regression."
        in guessed
    )
    asked = said(capsys, table, "--label", "likert", "--task", "regression", "--out", tmp_path / "b")
    assert "task: regression, as --task says (1 to 7)" in asked
    guessed = said(capsys, table, "--label", "fine", "--out", tmp_path / "c")
    assert (
        "regression, because 'fine' holds numbers (1 to 2.5). --task classification makes every number a class"
        in guessed
    )
    asked = said(capsys, table, "--label", "fine", "--task", "classification", "--out", tmp_path / "d")
    assert "classification, as --task says: 1 (12), 1.5 (12), 2 (12), 2.5 (12)" in asked


def test_too_many_classes_that_are_numbers_name_the_cure(tmp_path, capsys):
    table = write_rows(tmp_path / "t.jsonl", rows_of(300, age=lambda i: i))
    message = refused(capsys, table, "--label", "age", "--task", "classification")
    assert "must have 2 to 200 classes, but has 300. They are numbers: --task regression" in message


def test_numbers_with_a_leading_zero_stay_text_and_are_classes(tmp_path, capsys, untrained):
    lines = [f"{row['text']},0{1 + i % 3}" for i, row in enumerate(rows_of())]
    (tmp_path / "t.csv").write_text("\n".join(["text,code", *lines]))
    text = said(capsys, tmp_path / "t.csv", "--label", "code", "--out", tmp_path / "out")
    assert "labels 'code' look like numbers but stay text" in text and "01 (16), 02 (16), 03 (16)" in text
    asked = said(capsys, tmp_path / "t.csv", "--label", "code", "--task", "regression", "--out", tmp_path / "r")
    assert "task: regression, as --task says (1 to 3)" in asked


# spellings and sizes


def test_spellings_are_warned_of_with_their_counts_and_merged_if_asked(tmp_path, capsys, untrained):
    odd = {0: "Glad", 3: "glad ", 7: "saad", 8: "calme\u0301", 11: "calm\u00e9"}
    names = ("glad", "sad", "calmé")
    table = write_rows(tmp_path / "t.jsonl", rows_of(mood=lambda i: odd.get(i, names[i % 3])))
    text = said(capsys, table, "--label", "mood", "--out", tmp_path / "a")
    assert "WARNING: names in 'mood' that differ only in capitals, blanks or forms of a character are different" in text
    assert "'glad' (14), 'Glad' (1), 'glad ' (1). --merge-variants makes them 'glad'" in text
    assert "'calm\\xe9' (15), 'calme\\u0301' (1)" in text
    merged = said(capsys, table, "--label", "mood", "--merge-variants", "--out", tmp_path / "b")
    assert "merged spellings of 'mood' in 3 rows:" in merged and "'glad ' is read as 'glad'" in merged
    assert "calmé (16), glad (16), saad (1), sad (15)" in merged and "are different classes" not in merged
    read = checked_table(table, label="mood", merge_variants=True, skip_bad=False)
    assert set(read.manifest.column("mood")) == {"glad", "sad", "saad", "calmé"}


def test_speakers_in_two_spellings_are_warned_of_because_parts_would_share_them(tmp_path, capsys, untrained):
    rows = rows_of(mood=lambda i: WORDS[i % 3])
    rows[0]["speaker"], rows[1]["speaker"] = "S0", "s0 "
    table = write_rows(tmp_path / "t.jsonl", rows)
    text = said(capsys, table, "--label", "mood", "--out", tmp_path / "a")
    assert "are different speakers: 's0' (4), 'S0' (1), 's0 ' (1). --merge-variants makes them 's0'" in text
    text = said(capsys, table, "--label", "mood", "--merge-variants", "--out", tmp_path / "b")
    assert "merged spellings of 'speaker' in 2 rows" in text and "different speakers" not in text
    assert "8 speakers" in text


def test_very_many_names_are_not_compared_with_each_other():
    counts = Counter({f"name{chr(97 + i % 26)}{'x' * (i // 26)}": i + 1 for i in range(20_000)})
    assert near_lines("mood", counts) == []
    odd = Counter({word: 1 for i in range(50) for word in (f"a{i}", f"A{i}")})
    lines = variant_lines("mood", odd)
    assert len(lines) == 11 and lines[-1] == "… and 40 more such warnings"


def test_a_rare_name_near_a_frequent_one_is_warned_of_and_sizes_are_said(tmp_path, capsys, untrained):
    table = write_rows(
        tmp_path / "t.jsonl", rows_of(mood=lambda i: "netural" if i == 2 else ("neutral", "angry")[i % 4 == 0])
    )
    text = said(capsys, table, "--label", "mood", "--out", tmp_path / "a")
    assert "WARNING: label 'netural' of 'mood' (1 clip) looks like 'neutral' (35) misspelt" in text
    assert "classes are uneven: 35 clips of 'neutral', 1 of 'netural' (35.0 times fewer)" in text
    even = write_rows(tmp_path / "u.jsonl", rows_of(mood=lambda i: WORDS[i % 3]))
    text = said(capsys, even, "--label", "mood", "--out", tmp_path / "c")
    assert "uneven" not in text and "misspelt" not in text


def test_spellings_of_several_labels_a_clip_are_merged_within_the_cell(tmp_path):
    rows = rows_of(tags=lambda i: ["Dog", "rain"] if i == 0 else ["dog"] if i % 2 else ["rain", "dog", "Dog"])
    table = checked_table(write_rows(tmp_path / "t.jsonl", rows), label="tags", skip_bad=False, merge_variants=True)
    assert table.manifest.column("tags")[:3] == ["dog;rain", "dog", "rain;dog"] and table.several == ("tags",)


# columns, folders, paths


def test_columns_are_named_on_the_command_line(corpus, tmp_path, capsys, untrained):
    lines = [f"{c.audio}\t{c.text}\t{c.speaker}\t{c.labels['mood']}" for c in corpus]
    (tmp_path / "t.tsv").write_text("\n".join(["आवाज़\tTranscript\twho\tमिज़ाज", *lines]), encoding="utf-8")
    words = ["--audio-column", "आवाज़", "--speaker-column", "who", "--label", "मिज़ाज", "--out", tmp_path / "out"]
    text = said(capsys, tmp_path / "t.tsv", *words)
    assert "columns: read 'आवाज़' as 'audio', 'Transcript' as 'text', 'who' as 'speaker'" in text
    assert "48 clips with 'मिज़ाज', 48 with audio" in text and "6 speakers" in text


def test_a_german_spreadsheet_is_fitted_with_its_commas(corpus, tmp_path, capsys, untrained):
    lines = [f"{c.audio};{c.speaker};{i % 5},{i % 2}5" for i, c in enumerate(corpus)]
    content = "\r\n".join(["\ufeffsep=;", "Datei;Sprecher;Erregung", *lines, ""])
    (tmp_path / "t.CSV").write_bytes(content.removeprefix("\ufeff").encode("utf-8-sig"))
    words = [
        "--audio-column",
        "Datei",
        "--speaker-column",
        "Sprecher",
        "--label",
        "Erregung",
        "--out",
        tmp_path / "out",
    ]
    text = said(capsys, tmp_path / "t.CSV", *words)
    assert "column 'Erregung' has decimal commas: 0,05 is read as 0.05" in text
    assert "task: regression, because 'Erregung' holds numbers (0.05 to 4.15)" in text and "6 speakers" in text
    bad = content.replace(str(corpus[2].audio), "weg.wav").removeprefix("\ufeff")
    (tmp_path / "t.CSV").write_text(bad, encoding="utf-8")
    message = refused(capsys, tmp_path / "t.CSV", *words)
    assert "t.CSV has 1 problem(s):\n  - line 5: audio must exist" in message and "--skip-bad" in message


def test_a_column_that_may_be_the_speaker_is_pointed_at(tmp_path, capsys, untrained):
    rows = [
        {"actor" if n == "speaker" else n: v for n, v in row.items()} for row in rows_of(mood=lambda i: WORDS[i % 3])
    ]
    table = write_rows(tmp_path / "t.jsonl", rows)
    text = said(capsys, table, "--label", "mood", "--out", tmp_path / "a")
    assert "column 'actor' may say who speaks: if it does, --speaker-column 'actor'" in text
    text = said(capsys, table, "--label", "mood", "--speaker-column", "actor", "--out", tmp_path / "b")
    assert "8 speakers" in text and "may say" not in text


def test_a_folder_of_class_folders_is_fitted_to_the_end(corpus, tmp_path, capsys):
    for clip in corpus:
        place = tmp_path / "my corpus" / clip.labels["mood"] / str(clip.speaker)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(clip.audio), place)
    (tmp_path / "my corpus" / "README.txt").write_text("hello")
    assert fit(tmp_path / "my corpus", "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "48 recordings in 2 folders, which are the classes (column 'label')" in out
    assert "left out: 1 files that are not recordings (README.txt)" in out
    assert "these are not read as speakers" in out and "report: " in out
    message = refused(capsys, tmp_path / "my corpus", "--speaker-column", "x")
    assert "a folder has no columns" in message
    one_class = refused(capsys, tmp_path / "my corpus" / "good" / "speaker0")
    assert "FOLDER/CLASS/recording.wav" in one_class
    (tmp_path / "notes.txt").write_text("x")
    assert "must be a table (.arrow, .parquet, .csv, .tsv, .jsonl) or a folder" in refused(
        capsys, tmp_path / "notes.txt"
    )


def test_windows_paths_are_read_and_missing_files_are_named_with_what_is_near(corpus, tmp_path, capsys, untrained):
    clips = tmp_path / "clips"
    clips.mkdir()
    for clip in corpus:
        shutil.copy(str(clip.audio), clips)
    lines = [f"clips\\{c.id}.wav,{c.labels['mood']}" for c in corpus]
    (tmp_path / "t.csv").write_text("path,mood\n" + "\n".join(lines))
    text = said(capsys, tmp_path / "t.csv", "--label", "mood", "--out", tmp_path / "out")
    assert "48 paths are written as on Windows: 'clips\\clip000.wav' is read as 'clips/clip000.wav'" in text
    assert checked_table(tmp_path / "t.csv", label="mood", skip_bad=False).manifest.column("id")[0] == "clip000"
    lines[1] = "clips/CLIP001.wav,good"
    lines[2] = "D:\\clips\\clip002.wav,good"
    (tmp_path / "t.csv").write_text("path,mood\n" + "\n".join(lines))
    message = refused(capsys, tmp_path / "t.csv", "--label", "mood")
    assert "line 3: audio must exist, but is missing" in message and "Did you mean 'clip001.wav'?" in message
    assert "line 4: audio must exist" in message and "as on Windows: here '/' separates folders" in message
    assert "root" not in message.replace("pytest-of-root", "")


def test_a_checked_table_says_which_columns_are_asked(tmp_path):
    table = checked_table(
        write_rows(tmp_path / "t.jsonl", rows_of(mood=lambda i: WORDS[i % 3])), label=["speaker_id"], skip_bad=False
    )
    assert table.labels == ("speaker",) and table.several == ()
    with pytest.raises(ManifestError, match="must name the column to predict"):
        checked_table(tmp_path / "t.jsonl", label=None, skip_bad=False)
