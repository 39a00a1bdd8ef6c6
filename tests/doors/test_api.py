from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sonolex
from sonolex.cli import main
from sonolex.doors import api
from sonolex.doors.api import Pipeline
from sonolex.train.loop import train
from sonolex.train.run import Budget
from tests.audio.test_sources import within
from tests.train.helpers import HEIGHT, MOOD, PITCH, small_run


@pytest.fixture(scope="module")
def run_folder(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    budget = Budget(epochs=20, batch_s=8, batch_clips=8, evaluate_epochs=5)
    train(small_run(corpus.root, tasks=(PITCH, MOOD, HEIGHT), budget=budget), folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def model(run_folder) -> Pipeline:
    return sonolex.load(str(run_folder))


def test_one_item_gives_one_answer_and_a_list_a_list(model, corpus):
    clip = corpus[0]
    answer = model.predict(audio=clip.audio, text=clip.text)
    assert answer["pitch"]["label"] == "low" and answer["mood"]["label"] == "good"
    assert set(answer["pitch"]["scores"]) == {"low", "high"}
    assert sum(answer["pitch"]["scores"].values()) == pytest.approx(1.0, abs=1e-5)
    assert list(answer["pitch"]["scores"].values()) == sorted(answer["pitch"]["scores"].values(), reverse=True)
    assert isinstance(answer["height"]["value"], float)
    many = model.predict(audio=[clip.audio] * 3, text=[clip.text] * 3, top=1)
    assert len(many) == 3 and list(many[0]["pitch"]["scores"]) == ["low"]


def test_predictions_are_those_of_the_evaluation(model, run_folder, corpus):
    import json

    saved = json.loads((run_folder / "predictions" / "pitch.json").read_text())
    test = corpus.take(corpus.rows_of(saved["clip_ids"]))
    answers = model.predict(audio=[c.audio for c in test], text=[c.text for c in test])
    ours = np.array([[a["pitch"]["scores"][c] for c in saved["options"]["classes"]] for a in answers])
    assert np.abs(ours - np.array(saved["scores"])).max() < 2e-5  # saved with five digits


def test_a_model_is_read_again_only_when_its_folder_changed(run_folder, tmp_path):
    folders = [shutil.copytree(run_folder / "model", tmp_path / name) for name in "abc"]
    first = sonolex.load(folders[0])
    assert sonolex.load(folders[0]) is first and sonolex.load(str(folders[0]), device="cpu") is first
    assert Pipeline.load(folders[0]) is not first
    (folders[0] / "README.md").write_text("another card", encoding="utf-8")
    assert sonolex.load(folders[0]) is not first
    assert sonolex.load(folders[0]).card == "another card"
    kept = sonolex.load(folders[1])
    sonolex.load(folders[2])
    assert sonolex.load(folders[1]) is kept and len(api._KEPT) == api.MODELS_KEPT


def test_every_way_to_give_audio_gives_the_same_vector(model, corpus):
    path = Path(corpus[0].audio)
    wave, rate = soundfile.read(path, dtype="float32")
    sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), (wave, rate)]
    vectors = [model.embed(audio=s) for s in sources]
    assert all(np.allclose(v, vectors[0], atol=1e-6) for v in vectors)
    assert vectors[0].shape == (model.model.system.pooled_dim,)


def test_batching_does_not_change_vectors(model, corpus):
    audio, text = [c.audio for c in corpus], [c.text for c in corpus]
    together = model.embed(audio=audio, text=text)
    alone = np.stack([model.embed(audio=a, text=t) for a, t in zip(audio, text, strict=True)])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together - model.embed(audio=audio, text=text, batch_s=0.1)).max() < 1e-5


def test_text_alone_audio_alone_and_mixed_lists_work(model, corpus):
    clips = [corpus[i] for i in range(4)]
    assert model.predict(text=clips[0].text)["mood"]["label"] == "good"
    assert model.predict(audio=clips[1].audio)["pitch"]["label"] == "high"
    mixed = model.embed(audio=[clips[0].audio, None], text=[None, "good"])
    assert np.isfinite(mixed).all()


def test_misuse_is_refused_in_words(model, corpus):
    with pytest.raises(ValueError, match="neither"):
        model.predict()
    with pytest.raises(ValueError, match="must come with its rate"):
        model.predict(audio=np.zeros(100))
    with pytest.raises(ValueError, match="equally long"):
        model.predict(audio=[corpus[0].audio], text=["a", "b"])
    with pytest.raises(ValueError, match="both be"):
        model.predict(audio=corpus[0].audio, text=["a"])
    with pytest.raises(ValueError, match="item 0 must have"):
        model.predict(audio=[None], text=[" "])
    with pytest.raises(TypeError, match="path, bytes"):
        model.predict(audio=3)
    with pytest.raises(ValueError, match=r"gone\.wav"):
        model.predict(audio="gone.wav")


def test_a_saved_copy_gives_the_same_answers(model, corpus, tmp_path):
    model.save(tmp_path / "copy")
    clip = corpus[0]
    assert sonolex.predict(str(tmp_path / "copy"), audio=clip.audio) == model.predict(audio=clip.audio)
    assert np.array_equal(sonolex.embed(str(tmp_path / "copy"), audio=clip.audio), model.embed(audio=clip.audio))


def test_the_command_line_gives_pythons_numbers(model, run_folder, corpus, tmp_path, capsys):
    import json

    files = [corpus[0].audio, corpus[1].audio]
    assert main(["predict", str(run_folder), *files]) == 0
    lines = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    expected = model.predict(audio=files)
    for line, answer in zip(lines, expected, strict=True):
        assert line["pitch"]["label"] == answer["pitch"]["label"]
        assert line["pitch"]["score"] == pytest.approx(answer["pitch"]["score"], abs=1e-6)
    assert main(["embed", str(run_folder), *files, "--out", str(tmp_path / "x.npy")]) == 0
    assert np.allclose(np.load(tmp_path / "x.npy"), model.embed(audio=files), atol=1e-6)
    assert main(["predict", str(run_folder), "gone.wav"]) == 2
    assert "gone.wav" in capsys.readouterr().err


def test_the_command_line_refuses_pipes_devices_and_addresses_at_once(run_folder, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.wav")
    for place, said in (
        (str(tmp_path / "pipe.wav"), "a named pipe"),
        ("/dev/zero", "a device"),
        ("gs://bucket/clip.wav", "SONOLEX_REMOTE=gs"),
        ("abfs://container@account/clip.wav", "Download the file"),
    ):
        for verb in (["predict", str(run_folder), place], ["embed", str(run_folder), place, "--out", "x.npy"]):
            with within(30):
                assert main(verb) == 2
            (line,) = capsys.readouterr().err.strip().splitlines()
            assert place in line and said in line


def test_windows_of_a_long_recording_are_clips_of_their_own_whatever_the_batch(model):
    rng = np.random.default_rng(0)
    wave = (0.1 * rng.normal(size=8000 * 61 + 123)).astype(np.float32)
    vectors, starts_s = model.embed_windows((wave, 8000), window_s=2.0, hop_s=1.5, batch_s=5.0)
    others, _ = model.embed_windows((wave, 8000), window_s=2.0, hop_s=1.5, batch_s=100.0)
    assert np.allclose(vectors, others, atol=1e-5)
    assert starts_s[0] == 0.0 and starts_s[1] == 1.5
    assert starts_s[-1] == pytest.approx((len(wave) - 16_000) / 8000)  # the end is not lost
    third = model.embed(audio=(wave[24_000:40_000], 8000))
    assert np.allclose(vectors[2], third, atol=1e-5)
    short, starts_s = model.embed_windows((wave[:4000], 8000), window_s=2.0)
    assert short.shape == (1, vectors.shape[1]) and starts_s.tolist() == [0.0]
    with pytest.raises(ValueError, match="window_s"):
        model.embed_windows((wave, 8000), window_s=0.0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory of one program is read from /proc")
def test_ten_minutes_need_little_more_memory_than_their_samples(run_folder, tmp_path):
    import subprocess
    import sys

    program = (
        "import sys, numpy as np, soundfile, sonolex\n"
        "def peak_mb():\n"  # of this program alone: ru_maxrss begins with what the process that started it had
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM'))\n"
        "wave = 0.1 * np.random.default_rng(0).normal(size=8000 * 600)\n"
        "soundfile.write(sys.argv[2], wave.astype('float32'), 8000)\n"
        "model = sonolex.load(sys.argv[1]); model.embed_windows(sys.argv[2], window_s=5.0)\n"
        "before = peak_mb()\n"
        "model.embed_windows(sys.argv[2], window_s=5.0, batch_s=60.0)\n"
        "print(before, peak_mb())\n"
    )
    words = [sys.executable, "-c", program, str(run_folder), str(tmp_path / "long.wav")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    before_mb, after_mb = map(float, done.stdout.split())
    assert after_mb < 1000 and after_mb - before_mb < 100, (before_mb, after_mb)
