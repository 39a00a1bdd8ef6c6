from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonolex.audio import shards
from sonolex.audio.io import AudioError, probe_audio, read_audio
from sonolex.data import bridges
from sonolex.data.loader import Loader, Loading
from sonolex.data.manifest import manifest_from_rows, read_manifest
from sonolex.data.shards import write_shards


def waves(manifest) -> list[np.ndarray]:
    return [
        read_audio(c.audio, rate_hz=8000, offset_s=c.offset_s or 0.0, duration_s=c.duration_s if c.offset_s else None)
        for c in manifest
    ]


def test_sharded_clips_are_read_like_files(corpus, processor, tmp_path):
    sharded = write_shards(corpus, tmp_path, clips_per_shard=20)
    assert len(list(tmp_path.glob("shard-*.parquet"))) == 3
    again = read_manifest(tmp_path)
    assert again.column("text") == corpus.column("text") and len(sharded) == len(corpus)
    assert all(np.array_equal(a, b) for a, b in zip(waves(again), waves(corpus), strict=True))
    assert probe_audio(str(again[45].audio)).duration_s == pytest.approx(corpus[45].duration_s)
    rows = [np.arange(0, 48, 5), np.arange(3, 30, 4)]
    for a, b in zip(*(Loader(m, processor, loading=Loading()).batches(rows) for m in (again, corpus)), strict=True):
        assert a.clip_ids == b.clip_ids and bool((a.frames.values == b.frames.values).all())


def test_shards_are_read_from_a_filesystem_address(corpus, tmp_path):
    write_shards(corpus.take([0, 1]), tmp_path)
    address = f"file://{tmp_path}/shard-00000.parquet#1"
    assert np.array_equal(read_audio(address, rate_hz=8000), waves(corpus)[1])
    assert len(read_audio(f"file://{corpus[0].audio}", rate_hz=8000))


def test_missing_rows_and_foreign_shards_are_refused_by_name(corpus, tmp_path):
    write_shards(corpus.take([0]), tmp_path)
    with pytest.raises(AudioError, match="row 7"):
        read_audio(str(tmp_path / "shard-00000.parquet#7"), rate_hz=8000, clip_id="x")
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(AudioError, match="clip 'x'"):
        read_audio(str(tmp_path / "bad.parquet#0"), rate_hz=8000, clip_id="x")
    with pytest.raises(AudioError, match="missing"):
        read_audio(str(tmp_path / "gone.parquet#0"), rate_hz=8000, clip_id="x")
    with pytest.raises(ValueError, match="at least 1"):
        write_shards(corpus, tmp_path, clips_per_shard=0)


def test_lhotse_cuts_go_out_and_come_back(corpus, tmp_path):
    pytest.importorskip("lhotse")
    part = corpus.take(range(6))
    cuts = bridges.to_lhotse(part)
    cuts.to_file(tmp_path / "cuts.jsonl")
    again = bridges.from_lhotse(tmp_path / "cuts.jsonl")
    assert again.column("id") == part.column("id") and again.column("mood") == part.column("mood")
    assert again.column("speaker") == part.column("speaker") and again.column("text") == part.column("text")
    assert all(np.allclose(a, b) for a, b in zip(waves(again), waves(part), strict=True))


def test_lhotse_cuts_with_several_supervisions_are_refused(corpus):
    pytest.importorskip("lhotse")
    cut = next(iter(bridges.to_lhotse(corpus.take([0]))))
    cut.supervisions.append(cut.supervisions[0])
    with pytest.raises(ValueError, match="trim_to_supervisions"):
        bridges.from_lhotse([cut])


def test_hugging_face_datasets_go_out_and_come_back(corpus):
    pytest.importorskip("datasets")
    part = corpus.take(range(4))
    again = bridges.from_datasets(bridges.to_datasets(part))
    assert again.column("id") == part.column("id") and again.column("pitch") == part.column("pitch")
    assert all(np.allclose(a, b) for a, b in zip(waves(again), waves(part), strict=True))


def test_embedded_bytes_are_audio(corpus):
    from pathlib import Path

    rows = [{"id": "a", "audio_bytes": Path(str(corpus[0].audio)).read_bytes()}]
    assert np.array_equal(waves(manifest_from_rows(rows))[0], waves(corpus)[0])


def shard_of(path, audio, **options):
    pq.write_table(pa.table({"id": [str(i) for i in range(len(audio))], "audio": audio}), path, **options)


def test_a_value_that_thousands_of_rows_share_stays_one_in_memory(corpus, tmp_path):
    clip = Path(str(corpus[0].audio)).read_bytes()
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array([clip + bytes(900_000)]))
    shard_of(tmp_path / "a.parquet", shared, row_group_size=5000, store_schema=False)  # 4.6 GB as plain values
    for row in (0, 4999):
        assert np.array_equal(read_audio(f"{tmp_path}/a.parquet#{row}", rate_hz=8000), waves(corpus)[0])
    assert sum(column.nbytes for column in shards._KEPT.values()) < 100 << 20


def test_row_groups_too_large_to_hold_are_refused_and_few_are_kept(corpus, tmp_path, monkeypatch):
    write_shards(corpus, tmp_path)
    monkeypatch.setattr(shards, "MOST_KEPT_BYTES", 1)
    assert np.array_equal(read_audio(f"{tmp_path}/shard-00000.parquet#40", rate_hz=8000), waves(corpus)[40])
    assert np.array_equal(read_audio(f"{tmp_path}/shard-00000.parquet#1", rate_hz=8000), waves(corpus)[1])
    assert len(shards._KEPT) == 1
    monkeypatch.setattr(shards, "MOST_GROUP_BYTES", 1000)
    with pytest.raises(AudioError, match="at most 1,000 bytes"):
        read_audio(f"{tmp_path}/shard-00000.parquet#41", rate_hz=8000)


def test_a_shard_that_was_written_again_is_read_again(corpus, tmp_path):
    for first in (0, 5):
        write_shards(corpus.take([first]), tmp_path)
        assert np.array_equal(read_audio(f"{tmp_path}/shard-00000.parquet#0", rate_hz=8000), waves(corpus)[first])


def test_shards_of_other_columns_and_types_pipes_and_absurd_rows_are_refused_by_name(corpus, tmp_path):
    pq.write_table(pa.table({"sound": [b"x"]}), tmp_path / "a.parquet")
    shard_of(tmp_path / "b.parquet", pa.array(["text"]))
    shard_of(tmp_path / "c.parquet", pa.array([{"bytes": b"x", "path": "y"}]))
    shard_of(tmp_path / "d.parquet", pa.array([None], pa.binary()))
    os.mkfifo(tmp_path / "e.parquet")
    for name, message in (
        ("a.parquet#0", "column 'audio'"),
        ("b.parquet#0", "holds str"),
        ("c.parquet#0", "column 'audio' of encoded files"),
        ("d.parquet#0", "is empty"),
        ("d.parquet#" + "9" * 40, "row 999"),
        ("d.parquet#²", "missing"),
        ("e.parquet#0", "regular file"),
    ):
        with pytest.raises(AudioError, match=message):
            read_audio(str(tmp_path / name), rate_hz=8000)
