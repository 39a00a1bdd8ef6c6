"""Tables as people have them: what labels become, where lines end, which columns mean the same, and what is refused."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonolex.data import tables
from sonolex.data.manifest import Manifest, ManifestError, concatenate, manifest_from_rows, read_manifest
from sonolex.labels import class_name


def csv_of(path, values, name="mood"):
    path.write_text(f"text,{name}\n" + "".join(f'w{i},"{v}"\n' for i, v in enumerate(values)), encoding="utf-8")
    return read_manifest(path)


# what labels become


@pytest.mark.parametrize(
    ("written", "become"),
    [
        (["1", "2", "10"], [1, 2, 10]),
        (["-3", "0", "3"], [-3, 0, 3]),
        (["01", "1", "2"], ["01", "1", "2"]),
        (["007", "8", "9"], ["007", "8", "9"]),
        (["1e3", "1000", "5"], ["1e3", "1000", "5"]),
        (["+1", "-1", "0"], ["+1", "-1", "0"]),
        (["123456789012345678901", "123456789012345678902"], ["123456789012345678901", "123456789012345678902"]),
        (["9007199254740993", "9007199254740992"], ["9007199254740993", "9007199254740992"]),
        (["1.0", "2.0"], [1.0, 2.0]),
        (["1.0", "1"], ["1.0", "1"]),
        (["1.50", "1.5", "2.25"], [1.5, 1.5, 2.25]),
        (["+0.5", "-.25"], [0.5, -0.25]),
        (["1,5", "2,5"], ["1,5", "2,5"]),
        (["٣", "٤"], ["٣", "٤"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["yes", "no"], ["yes", "no"]),
        (["NA", "EU"], ["NA", "EU"]),
        (["1e999", "2"], ["1e999", "2"]),
        (["a", ""], ["a", None]),
        (["a", "  "], ["a", None]),
    ],
)
def test_text_labels_become_numbers_only_where_nothing_is_lost(written, become, tmp_path):
    labels = csv_of(tmp_path / "t.csv", written).column("mood")
    assert labels == become and [type(v) for v in labels] == [type(v) for v in become]
    rows = [{"text": "x", "mood": v} for v in written]
    assert manifest_from_rows(rows).column("mood") == become


def test_a_note_tells_that_labels_stay_text(tmp_path):
    (note,) = csv_of(tmp_path / "t.csv", ["01", "1"]).notes
    assert note == "labels 'mood' look like numbers but stay text, each as it is written (such as '01')"
    assert not csv_of(tmp_path / "u.csv", ["a", "1"]).notes


def test_one_nan_does_not_turn_numbers_into_classes_and_is_noted(tmp_path):
    manifest = csv_of(tmp_path / "t.csv", ["0.5", "nan", "NA", "inf", "", "1.5"])
    assert manifest.column("mood") == [0.5, None, None, None, None, 1.5]
    (note,) = manifest.notes
    assert note == "'mood': 3 values are not numbers ('NA', 'inf', 'nan') and counted as missing: lines 3, 4, 5"
    typed = manifest_from_rows([{"text": "x", "mood": v} for v in (0.5, math.nan, math.inf, 2)])
    assert typed.column("mood") == [0.5, None, None, 2.0] and "('inf')" in typed.notes[0]
    pq.write_table(pa.table({"text": ["a", "b"], "age": [1.5, math.nan]}), tmp_path / "t.parquet")
    typed = read_manifest(tmp_path / "t.parquet")
    assert typed.column("age") == [1.5, None] and "row 2" in typed.notes[0]


LABELS = st.one_of(
    st.lists(st.integers(-(2**70), 2**70), min_size=1),
    st.lists(st.booleans(), min_size=1),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=1),
    st.lists(st.from_regex(r"[+-]?0?[0-9]{1,3}(\.[0-9]{1,2})?(e[0-9])?", fullmatch=True), min_size=1),
)


@settings(max_examples=300, deadline=None)
@given(LABELS)
def test_two_different_labels_of_a_column_are_never_one_class(values):
    labels = manifest_from_rows([{"text": "x", "mood": v} for v in values]).column("mood")
    classes: dict[str, object] = {}
    for given_value, value in zip(values, labels, strict=True):
        if value is None:
            continue
        same = classes.setdefault(class_name(value), given_value)
        quantity = isinstance(value, float)
        assert same == given_value or (quantity and float(same) == float(given_value)), (same, given_value)


def test_mixed_kinds_are_text_or_refused():
    mixed = manifest_from_rows([{"text": "x", "mood": v} for v in (1, "one", 2.5)])
    assert mixed.column("mood") == ["1", "one", "2.5"] and "are text" in mixed.notes[0]
    with pytest.raises(ManifestError, match="row 1: mood must be text or a number, but is True"):
        manifest_from_rows([{"text": "x", "mood": v} for v in (True, "yes")])


def test_yes_and_no_are_the_same_classes_after_csv(tmp_path):
    manifest = manifest_from_rows([{"text": "x", "mood": v} for v in (True, False)], root=tmp_path)
    again = read_manifest(manifest.write(tmp_path / "t.csv"))
    assert [class_name(v) for v in again.column("mood")] == [class_name(v) for v in manifest.column("mood")]


# columns that mean the same, or nothing


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("text,transcript", "'text' and 'transcript'"),
        ("file,path", "'file' and 'path'"),
        ("audio,path", "'audio' and 'path'"),
        ("audio,duration,duration_s", "'duration' and 'duration_s'"),
    ],
)
def test_two_columns_that_mean_the_same_are_refused_by_name(header, named, tmp_path):
    (tmp_path / "t.csv").write_text(f"{header}\n" + ",".join("1" for _ in header.split(",")) + "\n")
    with pytest.raises(ManifestError, match=f"columns {named} mean the same"):
        read_manifest(tmp_path / "t.csv")
    with pytest.raises(ManifestError, match="mean the same"):
        manifest_from_rows([{header.split(",")[0]: "a"}, dict.fromkeys(header.split(","), "b")])


def test_a_label_beside_a_column_of_its_name_must_agree():
    rows = [{"text": "x", "mood": "a", "labels": {"mood": "b"}}]
    with pytest.raises(ManifestError, match="row 1: mood must be one value, but is 'a', as a label 'b'"):
        manifest_from_rows(rows)
    assert manifest_from_rows([{"text": "x", "labels": "glad"}]).column("labels") == ["glad"]


def test_new_columns_keep_ids_unique_and_names_clear(tmp_path):
    manifest = manifest_from_rows([{"id": i, "text": "x"} for i in "abc"])
    with pytest.raises(ValueError, match="id 'a' is already the id of row 1"):
        manifest.with_column("id", ["a", "a", "b"])
    with pytest.raises(ValueError, match="one for each of the 3 clips, but are 2"):
        manifest.with_column("mood", [1, 2])
    with pytest.raises(ValueError, match="'transcript' means"):
        manifest.with_column("transcript", ["a", "b", "c"])
    with pytest.raises(ValueError, match="row 1 is there twice"):
        manifest.take([1, 1])
    with pytest.raises(ValueError, match="id 'a' is already"):
        Manifest(pa.table({"id": ["a", "a"], "text": ["x", "y"]})).write(tmp_path / "m.arrow")


def test_joined_manifests_disagree_about_no_clip():
    first = manifest_from_rows([{"id": "a", "text": "x", "mood": "glad"}])
    assert concatenate([first, manifest_from_rows([{"id": "a", "text": "x", "age": 3}])]).column("mood") == ["glad"]
    with pytest.raises(ManifestError, match="mood is 'glad' and 'sad'"):
        concatenate([first, manifest_from_rows([{"id": "a", "text": "x", "mood": "sad"}])])
    with pytest.raises(ManifestError, match="'a' names two different clips: text is 'x' and 'y'"):
        concatenate([first, manifest_from_rows([{"id": "a", "text": "y"}])])
    with pytest.raises(ManifestError, match=r"joined manifests.*\n.*mood"):
        concatenate([first, manifest_from_rows([{"id": "b", "text": "y", "mood": 3}])])


# text files


def test_only_line_feeds_and_carriage_returns_end_lines(tmp_path):
    odd = "one\u2028two\x85three\x0bfour\x0cfive"
    (tmp_path / "t.csv").write_text(f"text,mood\n{odd},a\nb,b\n", encoding="utf-8")
    assert read_manifest(tmp_path / "t.csv").column("text") == [odd, "b"]
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": odd}, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert read_manifest(tmp_path / "t.jsonl").column("text") == [odd]
    for end in ("\r", "\r\n", "\n"):
        (tmp_path / "t.csv").write_bytes(f'text;mood{end}"two{end}lines";a{end}b;b{end}'.encode())
        assert read_manifest(tmp_path / "t.csv").column("text") == [f"two{end}lines", "b"]


def test_long_cells_are_read_up_to_a_limit_that_is_named(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("text,mood\n" + "x" * 200_000 + ",a\n")
    assert len(read_manifest(tmp_path / "t.csv").column("text")[0]) == 200_000
    monkeypatch.setattr(tables, "MOST_CELL_CHARACTERS", 100_000)
    with pytest.raises(ManifestError, match="field larger than field limit"):
        read_manifest(tmp_path / "t.csv")
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "x" * 200_000}))
    with pytest.raises(ManifestError, match="line 1: must have at most 100,000 characters"):
        read_manifest(tmp_path / "t.jsonl")
    monkeypatch.setattr(tables, "MOST_TEXT_BYTES", 100)
    with pytest.raises(ManifestError, match="at most 100 bytes, but has"):
        read_manifest(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,mood\nä,b\n".encode("utf-16"), "must be UTF-8 text, but is UTF-16"),
        ("text,mood\nä,b\n".encode("utf-16-le"), "NUL bytes"),
        ("text,mood\na,b\nä,b\n".encode("latin-1"), "line 3 holds byte 0xe4 (Latin-1?)"),
        (b"PK\x03\x04rest", "is a ZIP archive (Excel?)"),
        (b"\x1f\x8brest", "compressed with gzip"),
        (b"PAR1rest", "is Parquet"),
        (b'text,mood\n"a,b\nc,d\n', "line 2 to 3: cannot be read as CSV: a quote is not closed"),
        (b'text,mood\n"a"b,c\n', "a quote is not closed, or is not doubled"),
        (b"text,mood\na,b,c\n", "line 2: must have 2 cells, but has 3"),
        (b"text,text\na,b\n", "column 'text' occurs twice"),
        (b"text,\na,b\n", "column 2 has no name"),
        (b"", "it is empty"),
        (b"text,mood\n", "it has no rows"),
        (b"text," + b",".join(b"c%d" % i for i in range(100_000)) + b"\n", "at most 10,000 cells, but has 100,001"),
    ],
)
def test_a_malformed_table_is_a_one_line_error(content, message, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "t.csv")
    assert message in str(caught.value) and len(caught.value.problems) == 1 and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "mood": 1, "mood": 2}', "field 'mood' is there twice"),
        ('{"text": "a", "labels": {"x": 1, "x": 2}}', "field 'x' is there twice"),
        ("[" * 100_000, "is not JSON"),
        ('{"text": "a", "mood": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"text": "\\ud800"}', "line 1: text must be text, but holds half a character"),
        ('{"text": "a", "mood": "\\udfff"}', "line 1: mood must be text, but holds half a character"),
        ('{"text": "a", "mood": [0.5]}', "line 1: mood must be a list of text or whole numbers, but holds 0.5"),
        ('{"text": "a", "mood": ["a;b"]}', "line 1: mood must be a list of labels without ';', but holds 'a;b'"),
        ('{"text": ["a"]}', "line 1: text must be one value, but is list"),
        ('{"text": "a", "mood": {"a": 1}}', "line 1: mood must be one value, but is dict"),
        ('{"text": true}', "line 1: text must be text, but is True"),
        ('{"text": "a", "": 1}', "column 2 has no name"),
        ("7", "line 1: must be an object, but is int"),
    ],
)
def test_json_that_is_not_a_clip_is_reported_by_line(line, message, tmp_path):
    (tmp_path / "t.jsonl").write_text(line + "\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "t.jsonl")
    assert message in str(caught.value) and len(str(caught.value)) < 6000


def test_nan_and_infinity_in_json_are_missing_numbers(tmp_path):
    lines = ['{"text": "a", "mood": 1.5}', '{"text": "b", "mood": NaN}', '{"text": "c", "mood": Infinity}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert read_manifest(tmp_path / "t.jsonl").column("mood") == [1.5, None, None]
    (tmp_path / "t.jsonl").write_text('{"text": "a", "audio": NaN, "duration": NaN}')
    assert read_manifest(tmp_path / "t.jsonl").column("duration_s") == [None]


@pytest.mark.parametrize("value", ["-1", "-0.5", "inf", "1e400", "long", "1_0", "0"])
def test_lengths_that_cannot_be_are_refused_by_row(value, tmp_path):
    (tmp_path / "t.csv").write_text(f"audio,duration\na.wav,{value}\nb.wav,2\n")
    with pytest.raises(ManifestError, match="line 2: duration_s"):
        read_manifest(tmp_path / "t.csv")


def test_pipes_are_no_tables(tmp_path):
    for name in ("t.csv", "t.arrow", "t.parquet", "t.jsonl"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ManifestError, match="regular file"):
            read_manifest(tmp_path / name)


# Parquet and Arrow of other makers


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_repeated_ids_are_refused_in_every_format(suffix, tmp_path):
    table = pa.table({"id": ["a", "b", "a", None], "text": ["x", "y", "z", "w"]})
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(ManifestError, match="row 3: id 'a' is already the id of row 1"):
        read_manifest(path)


def test_columns_of_other_types_become_text_and_numbers(tmp_path):
    day = datetime.date(2020, 1, 2)
    manifest = read_manifest(
        parquet(
            tmp_path / "t.parquet",
            id=pa.array([7, 8]),
            text=pa.array([123, 4]),
            speaker=pa.array([3.0, None]),
            session=pa.array([day, day]),
            split=pa.array(["train", "test"]).dictionary_encode(),
            language=pa.array(["de", ""], pa.large_string()),
            duration=pa.array([1, 2], pa.int32()),
            mood=pa.array(["a", "b"]).dictionary_encode(),
            price=pa.array([decimal.Decimal("1.50"), None]),
            when=pa.array([day, None]),
            big=pa.array([2**63, 1], pa.uint64()),
            half=pa.array(np.array([0.5, 1], np.float16)),
            nothing=pa.nulls(2),
            labels=pa.array([{"age": 3}, {"age": 4}]),
        )
    )
    assert manifest.column("id") == ["7", "8"] and manifest.column("text") == ["123", "4"]
    assert manifest.column("speaker") == ["3", None] and manifest.column("session") == ["2020-01-02"] * 2
    assert manifest.column("split") == ["train", "test"] and manifest.column("language") == ["de", None]
    assert manifest.durations_s.tolist() == [1.0, 2.0] and manifest.column("mood") == ["a", "b"]
    assert manifest.column("price") == [1.5, None] and manifest.column("when") == ["2020-01-02", None]
    assert manifest.column("big") == [str(2**63), "1"] and manifest.column("half") == [0.5, 1.0]
    assert manifest.column("nothing") == [None, None] and manifest.column("age") == [3, 4]
    assert [c.labels["mood"] for c in manifest] == ["a", "b"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [["a"]]}, "column 'text' must hold text, but holds list"),
        ({"text": ["a"], "mood": [["x;y"]]}, "row 1: mood must be a list of labels without ';', but holds 'x;y'"),
        ({"text": ["a"], "mood": [[0.5]]}, "column 'mood' must hold one value a row"),
        ({"text": ["a"], "mood": [{"x": 1}]}, "column 'mood' must hold one value a row"),
        ({"text": [1.5]}, "column 'text' must hold text or whole numbers, but row 1 is 1.5"),
        ({"text": [b"\xff"]}, "column 'text' must hold text, but holds binary"),
        ({"audio": [{"array": [0.5], "sampling_rate": 8000}]}, "column 'audio' must hold text, but holds struct"),
        ({"audio": ["a.wav"], "duration": [datetime.timedelta(1)]}, "column 'duration_s' must hold numbers"),
        ({"audio": ["a.wav"], "sampling_rate": [8000.5]}, "sampling_rate must be a non-negative whole number"),
        ({"audio": ["a.wav"], "offset": [-1.0]}, "row 1: offset_s must be a non-negative number, but is -1"),
        ({"audio": ["a.wav"], "audio_bytes": ["x"]}, "column 'audio_bytes' must hold encoded files"),
        ({"audio": [None], "text": [" "]}, "row 1: must have audio or text"),
        ({"file": ["a.wav"], "audio": ["a.wav"]}, "mean the same"),
        ({"sound": ["a.wav"]}, "it must have a column 'audio' (paths) or 'text'"),
    ],
)
def test_unusable_columns_are_a_one_line_error(columns, message, tmp_path):
    with pytest.raises(ManifestError) as caught:
        read_manifest(parquet(tmp_path / "t.parquet", **columns))
    assert message in str(caught.value) and len(caught.value.problems) == 1


def test_embedded_audio_of_hugging_face_is_read(corpus, tmp_path):
    from pathlib import Path

    encoded = Path(str(corpus[0].audio)).read_bytes()
    sounds = [{"bytes": encoded, "path": "one.wav"}, {"bytes": None, "path": str(corpus[1].audio)}]
    manifest = read_manifest(parquet(tmp_path / "t.parquet", audio=sounds, mood=["a", "b"]))
    assert manifest.column("id") == ["one", "clip001"]
    assert manifest[0].audio == encoded and manifest[1].audio == corpus[1].audio
    assert np.array_equal(manifest[0].samples(8000), corpus[0].samples(8000))
    rows = manifest_from_rows([{"audio": s} for s in sounds])
    assert rows[0].audio == encoded and rows.column("audio") == [None, str(corpus[1].audio)]
    again = read_manifest(manifest.write(tmp_path / "m.arrow"))
    assert again[0].audio == encoded and not again.table.schema.metadata
    with pytest.raises(ValueError, match=r"must end in \.arrow or \.parquet"):
        manifest.write(tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


def test_excerpts_of_one_file_are_named_by_where_they_start():
    rows = [{"audio": "a.wav", "offset": 0, "duration": 1}, {"audio": "a.wav", "offset": 1.5, "duration": 1}]
    assert manifest_from_rows(rows).column("id") == ["a.wav@0.0", "a.wav@1.5"]
    with pytest.raises(ManifestError, match=r"row 2: id 'a\.wav' is already"):
        manifest_from_rows([{"audio": "a.wav"}, {"audio": "a.wav"}])


def test_a_manifest_being_written_leaves_the_old_one_until_it_is_whole(tmp_path):
    first = manifest_from_rows([{"id": "a", "text": "x"}], root=tmp_path)
    for suffix in tables.FORMATS:
        path = first.write(tmp_path / f"m{suffix}")
        opened = read_manifest(path)
        manifest_from_rows([{"id": "b", "text": "y"}, {"id": "c", "text": "y"}], root=tmp_path).write(path)
        assert opened.column("id") == ["a"] and read_manifest(path).column("id") == ["b", "c"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"m{s}" for s in tables.FORMATS)
