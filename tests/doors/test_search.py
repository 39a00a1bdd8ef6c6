"""Recordings are found by words and by recordings; an index grows, survives a kill, and stays on disk."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from sonolex.audio.patches import Blocks, Grid
from sonolex.cli import main
from sonolex.doors import search
from sonolex.doors.search import SoundIndex, build_index
from sonolex.doors.vector_files import PATHS, VECTORS
from sonolex.locks import Held, holding
from sonolex.systems.calm import Calm, CalmConfig, CalmProcessor, CalmProcessorConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.tasks.retrieval import RetrievalConfig
from sonolex.train.checkpoint import build_model, save_model

SIZES = {"num_layers": 1, "width": 32, "num_heads": 4, "ffn_width": 64, "max_tokens": 40}


@pytest.fixture(scope="module")
def saved(corpus, tmp_path_factory):
    def folder(pooled):
        config = CalmProcessorConfig(rate_hz=8000, num_mels=16, max_frames=400, max_tokens=40, vocab_size=200)
        processor = CalmProcessor.create(config, transcripts=corpus.column("text"))
        calm = CalmConfig(**SIZES, blocks=(Blocks(12, 6),), grid=Grid(6, 8, 3, 4, num_mels=16), pooled=pooled)
        task = RetrievalConfig("words") if pooled == "aligned" else PretrainingConfig("pretraining")
        model = build_model(Calm, Calm.matched(calm, processor), (task,), seed=0)
        place = tmp_path_factory.mktemp("model") / pooled
        save_model(place, model, processor, provenance={})
        return place

    return folder("aligned"), folder("multimodal")


def test_a_recording_finds_itself_and_words_find_something(saved, corpus, tmp_path, capsys):
    aligned, _ = saved
    out = tmp_path / "index"
    assert main(["index", str(corpus.root), "--model", str(aligned), "--out", str(out)]) == 0
    assert "48 recordings, 48 of them new" in capsys.readouterr().out
    index = SoundIndex.open(out)
    for row in (0, 17, 40):
        path = str(corpus[row].audio)
        hits = index.search(audio=path, top=3)
        assert path in [h.path for h in hits] and hits[0].similarity > 0.999
        assert [h.similarity for h in hits] == sorted((h.similarity for h in hits), reverse=True)
    assert main(["search", str(out), str(corpus[0].text), "--top", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(ValueError, match="only one of them"):
        index.search()


def test_an_index_grows_without_reading_again_and_survives_a_kill(saved, corpus, tmp_path):
    aligned, _ = saved
    folder, out = tmp_path / "sounds", tmp_path / "index"
    folder.mkdir()
    for row in range(4):
        shutil.copy(corpus[row].audio, folder / f"{row}.wav")
    assert build_index(folder, model=aligned, out=out) == (4, 4)
    shutil.copy(corpus[9].audio, folder / "9.wav")
    for name in (PATHS, VECTORS):
        with (out / name).open("ab") as file:
            file.write(b'"9.w')  # killed after these bytes, before anything counted them
    assert len(SoundIndex.open(out)) == 4
    assert build_index(folder, model=aligned, out=out) == (1, 5)
    assert build_index(folder, model=aligned, out=out) == (0, 5)
    assert SoundIndex.open(out).search(audio=folder / "9.wav", top=1)[0].path == str(folder / "9.wav")


def test_a_recording_that_cannot_be_read_does_not_cost_those_before_it(saved, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "AT_ONCE", 1)
    shutil.copy(corpus[0].audio, tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"b\.wav"):
        build_index(tmp_path, model=saved[0], out=tmp_path / "index")
    assert len(SoundIndex.open(tmp_path / "index")) == 1


def test_an_index_says_which_model_it_loads_and_takes_no_other_weights(saved, corpus, tmp_path, capsys):
    moved, out = tmp_path / "moved", tmp_path / "index"
    shutil.copytree(saved[0], tmp_path / "model")
    build_index(corpus.root, model=tmp_path / "model", out=out)
    assert main(["search", str(out), "good", "--top", "1"]) == 0
    assert f"model, as {out} names it: {tmp_path / 'model'}" in capsys.readouterr().err
    (tmp_path / "model").rename(moved)
    assert main(["search", str(out), "good", "--top", "1", "--model", str(moved)]) == 0
    weights = load_file(moved / "model.safetensors")
    save_file({k: v + 1 if v.is_floating_point() else v for k, v in weights.items()}, moved / "model.safetensors")
    assert main(["search", str(out), "good", "--model", str(moved)]) == 2
    assert "must have the weights that" in capsys.readouterr().err
    moved.rename(tmp_path / "model")
    with pytest.raises(ValueError, match="they have changed since"):
        build_index(corpus.root, model=tmp_path / "model", out=out)


def test_an_index_from_somebody_else_downloads_nothing(saved, corpus, tmp_path, monkeypatch):
    out = tmp_path / "index"
    build_index(corpus.root, model=saved[0], out=out)
    card = json.loads((out / "index.json").read_text())
    (out / "index.json").write_text(json.dumps(card | {"model": "hub:evil/model"}))
    monkeypatch.setattr("sonolex.doors.api.Pipeline.load", lambda *a, **k: pytest.fail("the hub was asked"))
    with pytest.raises(FileNotFoundError, match=r"`model` must be named: .*index was made with hub:evil/model"):
        SoundIndex.open(out).search(text="good")


def test_a_second_process_does_not_write_the_same_index(saved, corpus, tmp_path):
    with holding(tmp_path / "index", "index"), pytest.raises(Held, match=r"another process \(pid .*writes it"):
        build_index(corpus.root, model=saved[0], out=tmp_path / "index")


def test_a_model_that_aligns_nothing_is_refused(saved, corpus, tmp_path):
    aligned, multimodal = saved
    with pytest.raises(ValueError, match="aligned"):
        build_index(corpus.root, model=multimodal, out=tmp_path / "index")
    with pytest.raises(FileNotFoundError, match="has none"):
        build_index(tmp_path, model=aligned, out=tmp_path / "index")
    with pytest.raises(FileNotFoundError, match="sonolex index"):
        SoundIndex.open(tmp_path)
