from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonolex.data import arrow_files
from sonolex.data.manifest import (
    FORMATS,
    Manifest,
    ManifestError,
    concatenate,
    manifest_from_rows,
    read_manifest,
)
from sonolex.data.splits import disjoint_splits, require_disjoint

ROWS = [
    {"audio": "a/one.wav", "text": "good day", "speaker": "03", "duration": 1.5, "labels": {"mood": "glad", "age": 31}},
    {"audio": "a/two.wav", "text": None, "speaker": "08", "duration": 2.0, "labels": {"mood": "sad", "age": 40}},
]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_back_the_same_clips(suffix, tmp_path):
    manifest = manifest_from_rows(ROWS, root=tmp_path)
    again = read_manifest(manifest.write(tmp_path / f"manifest{suffix}"))
    assert [c.id for c in again] == ["one", "two"]
    assert again.column("mood") == ["glad", "sad"] and again.column("age") == [31, 40]
    assert again.column("speaker") == ["03", "08"] and again.column("text") == ["good day", None]
    assert again[0].audio == str(tmp_path / "a/one.wav")
    assert again.hours == pytest.approx(3.5 / 3600)
    assert len(read_manifest(tmp_path)) == 2  # a folder means its manifest


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_written_elsewhere_still_finds_its_audio(tmp_path, suffix):
    (tmp_path / "corpus").mkdir()
    manifest = manifest_from_rows([{"id": "a", "audio": "clips/a.wav"}], root=tmp_path / "corpus")
    elsewhere = read_manifest(manifest.write(tmp_path / f"manifest{suffix}"))
    assert Path(str(elsewhere[0].audio)) == tmp_path / "corpus" / "clips" / "a.wav"
    beside = manifest.write(tmp_path / "corpus" / f"manifest{suffix}")
    assert read_manifest(beside).column("audio") == ["clips/a.wav"]


def test_semicolons_quotes_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes('\ufeffaudio;text;emotion\nx.wav;"he said ""no""; loudly";3\ny.wav;;4\n'.encode())
    manifest = read_manifest(path)
    assert manifest.column("text") == ['he said "no"; loudly', None]
    assert manifest.column("emotion") == [3, 4]


def test_all_problems_are_reported_at_once(tmp_path):
    path = tmp_path / "manifest.jsonl"
    rows = [
        {"id": "a", "audio": "a.wav"},
        {"id": "a", "audio": "a.wav"},
        {"speaker": "x"},
        {"id": "d", "audio": "d.wav", "duration": "long"},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    text = str(caught.value)
    assert "line 2" in text and "line 3" in text and "line 4" in text and "duration_s" in text
    assert len(caught.value.problems) == 3


def test_rows_without_id_are_named_by_file_path_or_number():
    rows = [{"audio": "x/1.wav"}, {"audio": "y/1.wav"}, {"audio": "z/2.wav"}, {"text": "hello"}]
    assert manifest_from_rows(rows).column("id") == ["x/1.wav", "y/1.wav", "2", "row 4"]


def test_a_header_without_audio_and_text_is_one_problem():
    with pytest.raises(ManifestError, match="'audoi' to be 'audio'") as caught:
        manifest_from_rows([{"audoi": "a.wav", "emotion": "sad"}] * 5)
    assert len(caught.value.problems) == 1


def test_a_missing_column_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'mood'"):
        manifest_from_rows(ROWS).column("mod")


def test_missing_files_are_found_by_with_durations(tmp_path):
    with pytest.raises(ManifestError, match=r"gone\.wav"):
        manifest_from_rows([{"audio": "gone.wav"}], root=tmp_path).with_durations()


def test_where_and_rows_of_select_rows():
    manifest = manifest_from_rows(ROWS)
    assert manifest.where(mood="sad").column("id") == ["two"]
    assert manifest.where(mood=["sad", "glad"], speaker="03").column("id") == ["one"]
    assert manifest.rows_of(["two", "one"]).tolist() == [1, 0]
    with pytest.raises(ValueError, match="three"):
        manifest.rows_of(["three"])


def test_concatenation_keeps_a_clip_once_and_refuses_one_id_for_two_clips(tmp_path):
    first = manifest_from_rows(ROWS, root=tmp_path)
    assert len(concatenate([first, first])) == 2
    other = manifest_from_rows([{"id": "one", "audio": "elsewhere.wav"}], root=tmp_path)
    with pytest.raises(ManifestError, match="two different clips"):
        concatenate([first, other])


def test_disjoint_splits_keep_groups_together_and_near_their_shares():
    rng = np.random.default_rng(0)
    groups = [f"s{g}" for g in rng.integers(0, 40, 2000)]
    labels = rng.integers(0, 3, 2000).tolist()
    splits = disjoint_splits(groups, shares={"train": 0.7, "validation": 0.15, "test": 0.15}, strata=labels)
    by_group = {g: {s for h, s in zip(groups, splits, strict=True) if h == g} for g in set(groups)}
    assert all(len(s) == 1 for s in by_group.values())
    assert np.mean([s == "train" for s in splits]) == pytest.approx(0.7, abs=0.08)
    with pytest.raises(ValueError, match="at least 3"):
        disjoint_splits(["a", "b"], shares={"train": 0.7, "validation": 0.15, "test": 0.15})


def test_shared_speakers_between_parts_are_refused():
    manifest = manifest_from_rows(ROWS)
    require_disjoint({"train": manifest.take([0]), "test": manifest.take([1])}, column="speaker")
    with pytest.raises(ValueError, match="'03'"):
        require_disjoint({"train": manifest, "test": manifest.take([0])}, column="speaker")


def test_an_arrow_manifest_is_mapped_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_files, "MAPPED_FROM_BYTES", 0)
    number = 200_000
    names = [f"c{i}" for i in range(number)]
    table = pa.table({"id": names, "audio": names, "duration_s": np.ones(number)})
    path = Manifest(table).write(tmp_path / "big.arrow")
    before = pa.total_allocated_bytes()
    manifest = read_manifest(path)
    assert len(manifest) == number and manifest[number - 1].id == f"c{number - 1}"
    assert pa.total_allocated_bytes() - before < 1_000_000


TEXT = st.text(alphabet=string.printable + "äß\x00\u2028é漢", max_size=30)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.lists(st.integers(), max_size=2))
KEYS = st.one_of(st.sampled_from(["id", "audio", "text", "duration", "speaker", "labels", "split", "offset_s"]), TEXT)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=6))
def test_fuzzed_rows_are_a_manifest_or_a_manifest_error(rows):
    try:
        manifest = manifest_from_rows(rows)
    except ManifestError as e:
        assert e.problems
        return
    assert len(manifest) == len(rows)
    assert all(clip.id for clip in manifest)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=st.one_of(st.binary(max_size=300), TEXT.map(lambda t: ("audio,text\n" + t).encode())),
    kind=st.sampled_from(["csv", "jsonl", "tsv", "parquet", "arrow"]),
)
def test_fuzzed_files_are_a_manifest_or_a_manifest_error(content, kind, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / f"manifest.{kind}"
    path.write_bytes(content)
    try:
        assert len(read_manifest(path)) >= 0
    except ManifestError as e:
        assert path.name in str(e)
