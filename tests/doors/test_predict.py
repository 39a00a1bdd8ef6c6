"""`sonolex predict` and `embed` for products: tables, folders, errors per item, long recordings, flat memory."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sonolex
from sonolex.audio.io import AudioError
from sonolex.cli import main
from sonolex.data.manifest import ManifestError, manifest_from_rows, read_manifest
from sonolex.doors.api import Pipeline
from sonolex.doors.fit.table import checked_table
from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.regression import RegressionConfig
from sonolex.tasks.verification import VerificationConfig
from sonolex.train.checkpoint import save_model
from tests.conftest import TINY

MOOD = ClassificationConfig("mood", classes=("good", "bad"))
HEIGHT = RegressionConfig("height")


def saved(folder: Path, processor, *tasks, modalities=None) -> str:
    """Write an untrained model and return its folder."""
    system = build_system("ctal", system_type("ctal").matched(TINY, processor))
    built = {t.name: build_task(t, system.pooled_dim, seed=3) for t in tasks}
    provenance = {} if modalities is None else {"modalities": modalities}
    save_model(folder, Model(system, built), processor, provenance=provenance)
    return str(folder)


@pytest.fixture(scope="module")
def place(processor, tmp_path_factory) -> str:
    return saved(tmp_path_factory.mktemp("predict") / "model", processor, MOOD, HEIGHT)


@pytest.fixture(scope="module")
def model(place) -> Pipeline:
    return sonolex.load(place)


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory) -> Path:
    """30 s, where the model takes 8."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=8000 * 30), 8000)
    return path


def lines_of(capsys) -> list[dict]:
    """Return the printed lines; every line of the output is one answer, none is blank."""
    printed = capsys.readouterr().out
    assert not printed or printed.endswith("\n")
    return [json.loads(line) for line in printed.splitlines()]


def write_table(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    else:
        manifest_from_rows(rows, root=path.parent).write(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".arrow"])
def test_a_table_is_answered_row_by_row_in_its_order(suffix, place, model, corpus, capsys):
    rows = [{"audio": f"audio/clip{n:03d}.wav", "text": corpus[n].text, "mood": "?"} for n in (3, 1, 2, 0)]
    table = write_table(corpus.root / f"asked{suffix}", rows)
    assert main(["predict", place, str(table)]) == 0
    lines = lines_of(capsys)
    assert [line["row"] for line in lines] == [1, 2, 3, 4]
    assert [Path(line["input"]).name for line in lines] == [Path(row["audio"]).name for row in rows]
    expected = model.predict(audio=[str(corpus.root / r["audio"]) for r in rows], text=[r["text"] for r in rows])
    for line, answer in zip(lines, expected, strict=True):
        assert line["mood"]["scores"] == pytest.approx(answer["mood"]["scores"], abs=1e-5)
        assert line["height"]["value"] == pytest.approx(answer["height"]["value"], abs=1e-5)


def test_a_table_of_texts_and_columns_of_other_names(place, model, tmp_path, corpus, capsys):
    texts = write_table(tmp_path / "texts.jsonl", [{"text": "good"}, {"text": "bad"}])
    assert main(["predict", place, str(texts)]) == 0
    assert [line["input"] for line in lines_of(capsys)] == ["good", "bad"]
    rows = [{"id": "a", "recording": corpus[0].audio, "said": "good", "text": "not this"}]
    table = write_table(tmp_path / "own.csv", rows)
    assert main(["predict", place, str(table), "--audio-column", "recording", "--text-column", "said"]) == 0
    (line,) = lines_of(capsys)
    assert line["id"] == "a" and line["table"] == str(table)
    expected = model.predict(audio=corpus[0].audio, text="good")
    assert line["height"]["value"] == pytest.approx(expected["height"]["value"], abs=1e-5)
    assert main(["predict", place, str(table), "--audio-column", "nothing"]) == 2
    assert "column 'nothing' (--audio-column) is missing; it has ['id', 'recording'" in capsys.readouterr().err
    assert main(["predict", place, corpus[0].audio, "--audio-column", "x"]) == 2
    assert "must be left out without a table" in capsys.readouterr().err


def test_excerpts_of_a_table_are_heard_as_excerpts(place, model, tmp_path, long_recording, capsys):
    rows = [{"audio": str(long_recording), "offset_s": 2.0, "duration_s": 3.0}]
    assert main(["predict", place, str(write_table(tmp_path / "cut.csv", rows))]) == 0
    wave, rate = soundfile.read(long_recording, dtype="float32")
    expected = model.predict(audio=(wave[2 * rate : 5 * rate], rate))
    assert lines_of(capsys)[0]["height"]["value"] == pytest.approx(expected["height"]["value"], abs=1e-5)


def test_a_folder_is_every_recording_under_it_by_name(place, corpus, capsys):
    assert main(["predict", place, str(corpus.root / "audio")]) == 0
    names = [Path(line["input"]).name for line in lines_of(capsys)]
    assert names == sorted(p.name for p in (corpus.root / "audio").iterdir())


def test_what_a_folder_holds_besides_is_counted_and_an_empty_one_refused(place, corpus, tmp_path, capsys):
    for name in ("b/two.wav", "a.wav", ".hidden.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(Path(corpus[0].audio).read_bytes())
    assert main(["predict", place, str(tmp_path)]) == 0
    told = capsys.readouterr()
    names = [Path(json.loads(line)["input"]).name for line in told.out.splitlines()]
    assert names == ["a.wav", "two.wav"]
    assert "2 recordings; 2 other files were not read" in told.err
    (tmp_path / "empty").mkdir()
    assert main(["predict", place, str(tmp_path / "empty")]) == 2
    assert "has none" in capsys.readouterr().err


def test_an_item_that_cannot_be_used_stops_after_the_answers_before_it(place, corpus, tmp_path, capsys):
    table = write_table(tmp_path / "t.csv", [{"audio": corpus[0].audio}, {"audio": "gone.wav"}, {"audio": ""}])
    with table.open("a") as f:
        f.write(f"{corpus[1].audio}\n")
    assert main(["predict", place, str(table)]) == 2
    told = capsys.readouterr()
    assert [json.loads(line)["row"] for line in told.out.splitlines()] == [1]
    assert "t.csv line 3" in told.err and "gone.wav" in told.err


def test_or_is_recorded_in_its_line_with_a_count_and_code_1(place, corpus, tmp_path, capsys):
    rows = [{"audio": corpus[0].audio, "text": ""}, {"audio": "gone.wav", "text": ""}, {"audio": "", "text": ""}]
    table = write_table(tmp_path / "t.csv", [*rows, {"audio": corpus[1].audio, "text": "good"}])
    with table.open("ab") as f:
        f.write(b"a,b,c\n" + f"{corpus[2].audio},caf".encode() + b"\xe9\n")
    assert main(["predict", place, str(table), "--on-error", "record"]) == 1
    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["row"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert ["error" in line for line in lines] == [False, True, True, False, True, True]
    assert all(("mood" in line) != ("error" in line) for line in lines)
    for line, why in zip([x for x in lines if "error" in x], ("missing", "nothing", "2 cells", "UTF-8"), strict=True):
        assert why in line["error"] and f"t.csv line {line['row'] + 1}" in line["error"]
    assert "4 inputs could not be used" in told.err


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_are_called_as_fit_calls_them(suffix, place, corpus, tmp_path, capsys):
    rows = [{"audio": str(corpus[0].audio), "tone": "good"}, {"audio": "gone.wav", "tone": "bad"}]
    table = write_table(tmp_path / f"t{suffix}", rows)
    if suffix == ".csv":  # Excel's line, a blank one, and a cell of two lines above the row in question
        table.write_text(f'sep=;\naudio;tone\n\n"{corpus[0].audio}";"go\nod"\ngone.wav;bad\n', encoding="utf-8")
    called = {".csv": "line 6", ".jsonl": "line 2", ".parquet": "row 2"}[suffix]
    assert main(["predict", place, str(table), "--on-error", "record"]) == 1
    lines = lines_of(capsys)
    assert f"{called}:" in lines[1]["error"] and lines[1]["row"] == 2
    assert lines[1].get("line") == {".csv": 6, ".jsonl": 2}.get(suffix)
    with pytest.raises(ManifestError, match=f"{called}: audio must exist"):
        checked_table(table, label="tone", skip_bad=False)


def test_lines_of_a_jsonl_file_that_say_nothing_are_their_own_problem(place, corpus, tmp_path, capsys):
    table = tmp_path / "t.jsonl"
    lines = [json.dumps({"path": corpus[0].audio}), '{"note": 1}', "[1]", "{", '{"text": "good"}']
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert main(["predict", place, str(table), "--on-error", "record"]) == 1
    answers = lines_of(capsys)
    assert ["error" in a for a in answers] == [False, True, True, True, False]
    table.write_text('{"note": 1}\n', encoding="utf-8")
    assert main(["predict", place, str(table), "--on-error", "record"]) == 2
    assert "must have a column 'audio'" in capsys.readouterr().err


def test_python_returns_errors_in_their_places_or_raises_the_first(model, corpus):
    answers = model.predict(audio=[corpus[0].audio, "gone.wav", corpus[1].audio], on_error="return")
    assert isinstance(answers[1], AudioError) and "gone.wav" in str(answers[1])
    for answer, clip in ((answers[0], corpus[0]), (answers[2], corpus[1])):
        alone = model.predict(audio=clip.audio)
        assert answer["mood"]["scores"] == pytest.approx(alone["mood"]["scores"], abs=1e-5)
    with pytest.raises(ValueError, match=r"gone\.wav"):
        model.predict(audio=[corpus[0].audio, "gone.wav"])
    with pytest.raises(ValueError, match="`on_error` must be one of raise, return"):
        model.predict(audio=corpus[0].audio, on_error="ignore")


def test_a_long_recording_is_refused_with_the_option_that_hears_it(place, long_recording, capsys):
    assert main(["predict", place, str(long_recording)]) == 2
    assert "--long window" in capsys.readouterr().err


def test_a_long_recording_is_heard_in_windows_and_pooled_by_their_mean(place, model, long_recording, corpus, capsys):
    assert main(["predict", place, str(long_recording), corpus[0].audio, "--long", "window", "--window-s", "5"]) == 0
    long, short = lines_of(capsys)
    assert long["windows"] == {"count": 6, "window_s": 5.0, "hop_s": 5.0, "pooled": "mean"}
    assert short["windows"]["count"] == 1
    wave, rate = soundfile.read(long_recording, dtype="float32")
    parts = [model.predict(audio=(wave[s * rate : (s + 5) * rate], rate)) for s in range(0, 30, 5)]
    for name in ("good", "bad"):
        mean = np.mean([part["mood"]["scores"][name] for part in parts])
        assert long["mood"]["scores"][name] == pytest.approx(mean, abs=1e-5)
    assert long["height"]["value"] == pytest.approx(np.mean([part["height"]["value"] for part in parts]), abs=1e-5)
    assert short["mood"]["scores"] == pytest.approx(model.predict(audio=corpus[0].audio)["mood"]["scores"], abs=1e-5)


def test_or_each_window_has_a_line_and_the_default_window_is_the_longest_clip(place, model, long_recording, capsys):
    words = ["predict", place, str(long_recording), "--long", "window", "--pool", "each", "--hop-s", "4"]
    assert main(words) == 0
    lines = lines_of(capsys)
    assert [line["start_s"] for line in lines] == [0, 4, 8, 12, 16, 20, pytest.approx(lines[-1]["start_s"])]
    assert lines[-1]["end_s"] == 30.0
    window_s = lines[0]["end_s"]
    assert 7 < window_s <= 8  # the model's longest clip is 8 s
    wave, rate = soundfile.read(long_recording, dtype="float32")
    alone = model.predict(audio=(wave[4 * rate : round((4 + window_s) * rate)], rate))
    assert lines[1]["mood"]["scores"] == pytest.approx(alone["mood"]["scores"], abs=1e-5)
    each = model.predict(audio=str(long_recording), long="window", hop_s=4, pool="each")
    assert [w["start_s"] for w in each] == [line["start_s"] for line in lines]
    assert each[1]["answers"]["height"]["value"] == pytest.approx(alone["height"]["value"], abs=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--window-s", "5"], "are for long='window'"),
        (["--pool", "each"], "are for long='window'"),
        (["--long", "window", "--window-s", "0"], "must be at least 0.01"),
        (["--long", "window", "--window-s", "20"], "`window_s` must be at most 7.9"),
        (["--long", "window", "--window-s", "2", "--hop-s", "3"], "parts are left out"),
    ],
)
def test_windows_that_cannot_be_are_refused(words, said, place, long_recording, capsys):
    assert main(["predict", place, str(long_recording), *words]) == 2
    assert said in capsys.readouterr().err


def test_words_of_a_long_recording_belong_to_no_window(place, long_recording, capsys):
    assert main(["predict", place, str(long_recording), "--text", "good", "--long", "window"]) == 2
    assert "must have no text to be cut into windows" in capsys.readouterr().err


def test_windows_of_voices_are_pooled_to_a_direction(processor, tmp_path, long_recording):
    place = saved(tmp_path / "voices", processor, VerificationConfig("voice", classes=("a", "b")))
    answer = sonolex.load(place).predict(audio=str(long_recording), long="window")
    assert np.linalg.norm(answer["voice"]["embedding"]) == pytest.approx(1, abs=1e-5)


def test_a_model_reads_of_a_table_what_it_was_trained_on(processor, tmp_path, corpus, capsys):
    place = saved(tmp_path / "deaf", processor, HEIGHT, modalities=["audio"])
    table = write_table(tmp_path / "t.csv", [{"audio": corpus[0].audio, "text": "good"}])
    assert main(["predict", place, str(table)]) == 0
    told = capsys.readouterr()
    alone = sonolex.load(place).predict(audio=corpus[0].audio)
    assert json.loads(told.out)["height"]["value"] == pytest.approx(alone["height"]["value"], abs=1e-6)
    assert "the texts of 1 rows were not read" in told.err


def test_a_pre_training_has_nothing_to_predict_and_says_what_to_do(processor, tmp_path, corpus, capsys):
    place = saved(tmp_path / "pre", processor, PretrainingConfig("pretraining"))
    assert main(["predict", place, corpus[0].audio]) == 2
    said = capsys.readouterr().err
    assert "sonolex fit TABLE --label COLUMN --from MODEL" in said and "sonolex embed" in said


@pytest.mark.parametrize("name", ["error", "row", "windows"])
def test_a_task_called_like_a_field_of_a_line_does_not_hide_it(name, processor, tmp_path, corpus, capsys):
    place = saved(tmp_path / "odd", processor, RegressionConfig(name))
    assert main(["predict", place, corpus[0].audio]) == 0
    (line,) = lines_of(capsys)
    assert line["input"] == corpus[0].audio and set(line) == {"input", f"{name}_"}


def test_batches_chosen_by_the_device_change_nothing(model, corpus):
    files = [c.audio for c in corpus]
    chosen, alone = model.embed(audio=files), model.embed(audio=files, batch_s=0.01)
    together = model.embed(audio=files, batch_s=1000.0)
    assert np.abs(chosen - alone).max() < 1e-5 and np.abs(chosen - together).max() < 1e-5


def test_items_are_read_as_they_are_asked_for_and_answered_in_order(model, corpus):
    from sonolex.doors.answering import Item

    made = []

    def items():
        for n in range(100_000):
            made.append(n)
            yield Item(corpus[n % len(corpus)].audio, name=str(n))

    answers = model.predict_each(items())
    assert [next(answers).item.name for _ in range(20)] == [str(n) for n in range(20)]
    assert len(made) < 1000  # not all of them


def test_options_may_stand_before_the_inputs(place, corpus, capsys):
    assert main(["predict", place, "--top", "1", corpus[0].audio, "--on-error", "stop", corpus[1].audio]) == 0
    assert [len(line["mood"]["scores"]) for line in lines_of(capsys)] == [1, 1]


def test_who_stops_reading_ends_it_quietly(place, corpus, tmp_path):
    table = write_table(tmp_path / "t.csv", [{"audio": corpus[n % 40].audio} for n in range(600)])
    command = f"{sys.executable} -m sonolex predict {place} {table} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100)
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""


def test_embed_takes_tables_and_folders_too(place, model, corpus, tmp_path, capsys):
    table = write_table(tmp_path / "t.csv", [{"audio": corpus[n].audio} for n in (2, 0)])
    assert main(["embed", place, str(table), str(corpus.root / "audio"), "--out", str(tmp_path / "x.npy")]) == 0
    vectors = np.load(tmp_path / "x.npy")
    assert vectors.shape == (50, model.model.system.pooled_dim)
    assert np.allclose(vectors[:2], model.embed(audio=[corpus[2].audio, corpus[0].audio]), atol=1e-5)
    assert np.allclose(vectors[0], vectors[4], atol=1e-5)  # clip002 again


def test_a_pipeline_says_what_it_is(model):
    said = repr(model)
    assert said.startswith("Pipeline(ctal, ") and "mood (classification: good, bad), height (regression)" in said
    assert "on cpu" in said and "8000 Hz, clips up to 8 s" in said


def test_swapped_rate_and_samples_are_named(model):
    wave = np.zeros(8000, np.float32)
    for audio in ((8000, wave), [(8000, wave)]):
        with pytest.raises(ValueError, match=r"must be \(array, rate\), but is \(rate, array\)"):
            model.predict(audio=audio)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory of one program is read from /proc")
def test_memory_does_not_grow_with_the_number_of_rows(place, corpus, tmp_path):
    program = (
        "import sys\nfrom sonolex.cli import main\n"
        "def peak_mb():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM'))\n"
        "main(['predict', sys.argv[1], sys.argv[2]])\n"
        "before = peak_mb()\n"
        "main(['predict', sys.argv[1], sys.argv[3]])\n"
        "print(before, peak_mb(), file=sys.stderr)\n"
    )
    few, many = ([{"audio": corpus[n % 8].audio} for n in range(count)] for count in (300, 3000))
    tables = [str(write_table(tmp_path / f"{len(rows)}.csv", rows)) for rows in (few, many)]
    words = [sys.executable, "-c", program, place, *tables]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3300
    before_mb, after_mb = map(float, done.stderr.split())
    assert after_mb - before_mb < 20, (before_mb, after_mb)


def test_a_written_manifest_is_a_table_to_predict(place, corpus, capsys):
    assert main(["predict", place, str(corpus.root / "manifest.arrow")]) == 0
    assert [line["id"] for line in lines_of(capsys)] == read_manifest(corpus.root / "manifest.arrow").column("id")


def test_weights_have_the_mode_of_every_new_file(processor, tmp_path):
    before = os.umask(0o027)
    try:
        folder = Path(saved(tmp_path / "shared", processor, MOOD))
    finally:
        os.umask(before)
    assert {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir()} == {p.name: 0o640 for p in folder.iterdir()}
