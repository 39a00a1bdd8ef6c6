"""Recordings are found by words and by recordings; an index grows, survives a kill, and stays on disk."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from sonolex.audio.patches import Blocks, Grid
from sonolex.cli import main
from sonolex.search import SoundIndex, build_index
from sonolex.systems.calm import Calm, CalmConfig, CalmProcessor, CalmProcessorConfig
from sonolex.tasks.retrieval import RetrievalConfig
from sonolex.train.checkpoint import build_model, save_model

SIZES = {"num_layers": 1, "width": 32, "num_heads": 4, "ffn_width": 64, "max_tokens": 40}


def write_paths(folder, paths):
    table = pa.table({"path": paths})
    with pa.OSFile(str(folder / "paths.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.fixture(scope="module")
def saved(corpus, tmp_path_factory):
    def folder(pooled):
        config = CalmProcessorConfig(rate_hz=8000, num_mels=16, max_frames=400, max_tokens=40, vocab_size=200)
        processor = CalmProcessor.create(config, transcripts=corpus.column("text"))
        calm = CalmConfig(**SIZES, blocks=(Blocks(12, 6),), grid=Grid(6, 8, 3, 4, num_mels=16), pooled=pooled)
        model = build_model("calm", Calm.matched(calm, processor), (RetrievalConfig("words"),), seed=0)
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
    import shutil

    aligned, _ = saved
    folder, out = tmp_path / "sounds", tmp_path / "index"
    folder.mkdir()
    for row in range(4):
        shutil.copy(corpus[row].audio, folder / f"{row}.wav")
    assert build_index(folder, model=aligned, out=out) == (4, 4)
    shutil.copy(corpus[9].audio, folder / "9.wav")
    paths = pa.ipc.open_file(str(out / "paths.arrow")).read_all()["path"].to_pylist()
    write_paths(out, [*paths, str(folder / "9.wav")])  # killed after the paths and before the vectors
    assert len(SoundIndex.open(out)) == 4
    assert build_index(folder, model=aligned, out=out) == (1, 5)
    assert build_index(folder, model=aligned, out=out) == (0, 5)
    assert SoundIndex.open(out).search(audio=folder / "9.wav", top=1)[0].path == str(folder / "9.wav")


def test_a_model_that_aligns_nothing_is_refused(saved, corpus, tmp_path):
    aligned, multimodal = saved
    with pytest.raises(ValueError, match="aligned"):
        build_index(corpus.root, model=multimodal, out=tmp_path / "index")
    with pytest.raises(FileNotFoundError, match="has none"):
        build_index(tmp_path, model=aligned, out=tmp_path / "index")
    with pytest.raises(FileNotFoundError, match="sonolex index"):
        SoundIndex.open(tmp_path)


def test_a_large_index_is_searched_from_disk(tmp_path):
    """Vectors are not read into memory: an opened index is a view of its file."""
    from usearch.index import Index

    vectors = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)
    index = Index(ndim=16, metric="cos", dtype="f16")
    index.add(np.arange(len(vectors)), vectors)
    index.save(tmp_path / "vectors.usearch")
    write_paths(tmp_path, [f"{i}.wav" for i in range(len(vectors))])
    (tmp_path / "index.json").write_text(json.dumps({"model": "none"}))
    opened = SoundIndex.open(tmp_path)
    assert [opened.nearest(vectors[i], top=1)[0].path for i in (3, 1999)] == ["3.wav", "1999.wav"]
    with pytest.raises(Exception, match=r"(?i)view|immutable|constant"):
        opened._vectors.add(5000, vectors[0])
