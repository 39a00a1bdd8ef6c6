"""Tables as people send them: each is read for what it says, or refused in a line that names file, row and cure."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonolex.data.manifest import ManifestError, read_manifest
from sonolex.labels import tags_of


def read(path, content: str, encoding: str = "utf-8", **options):
    path.write_bytes(content.encode(encoding))
    return read_manifest(path, **options)


# CSV of spreadsheets


def test_a_german_spreadsheet_has_semicolons_decimal_commas_and_a_byte_order_mark(tmp_path):
    content = "\ufeffpath;speaker;Stimmung;Erregung;duration\r\na.wav;ann;gut;1,50;0,4\r\nb.wav;bob;übel;-2,25;NA\r\n"
    manifest = read(tmp_path / "t.csv", content)
    assert manifest.column("audio") == ["a.wav", "b.wav"] and manifest.column("Stimmung") == ["gut", "übel"]
    assert manifest.column("Erregung") == [1.5, -2.25] and manifest.column("duration_s") == [0.4, None]
    assert "column 'Erregung' has decimal commas: 1,50 is read as 1.50" in manifest.notes
    words = read(tmp_path / "t.csv", 'text;mood\nx;"1,5"\ny;calm, mild\n')
    assert words.column("mood") == ["1,5", "calm, mild"] and not words.notes
    assert read(tmp_path / "t.csv", 'text,mood\nx,"1,5"\ny,"2,5"\n').column("mood") == ["1,5", "2,5"]


def test_excel_writes_sep_quotes_empty_lines_and_nameless_columns(tmp_path):
    content = (
        'sep=;\r\n"path";"text";"mood";;\r\n"a,b.wav";"er sagte ""ja"";\nund ging";gut;;\r\n\r\n;;;;\r\nc.wav;x;;;\r\n'
    )
    manifest = read(tmp_path / "t.csv", content)
    assert manifest.column("audio") == ["a,b.wav", "c.wav"] and manifest.column("mood") == ["gut", None]
    assert manifest.column("text")[0] == 'er sagte "ja";\nund ging'
    assert manifest.notes[:2] == (
        "column 4 has no name and is empty: left out",
        "column 5 has no name and is empty: left out",
    )
    with pytest.raises(ManifestError, match="line 7: duration_s must be a non-negative number, but is 'x'"):
        read(tmp_path / "t.csv", content.replace("text", "duration").replace('"er sagte ""ja"";\nund ging"', '"\n"'))


def test_a_numbered_column_of_pandas_is_left_out_with_a_note(tmp_path):
    manifest = read(tmp_path / "t.csv", ",text,mood\n0,x,a\n1,y,b\n")
    assert manifest.table.column_names == ["id", "text", "mood"]
    assert manifest.notes == ("column 1 has no name and numbers the rows: left out",)
    with pytest.raises(ManifestError, match="header: column 1 has no name: give it one"):
        read(tmp_path / "t.csv", ",text,mood\n7,x,a\n9,y,b\n")


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        ("text,mood\nx,a\ny,ü\n", "latin-1", "line 3 holds byte 0xfc (Latin-1?): save it as UTF-8 text"),
        ("text,mood\nx,a\n", "utf-16", 'is UTF-16: save it as UTF-8 text (Excel: "CSV UTF-8")'),
        ("text,mood,mood\nx,a,b\n", "utf-8", "header: column 'mood' occurs twice: rename one of them"),
        ("text,mood\nx,a\n\ny,b,c\n", "utf-8", "line 4: must have 2 cells, but has 3"),
        ("text;mood\nx;a\ny;b;c\n", "utf-8", "Put quotes round cells that hold ';'"),
        ("sound,mood\nx,a\n", "utf-8", "Name it with --audio-column or --text-column"),
    ],
)
def test_unreadable_tables_name_file_line_and_cure(content, encoding, message, tmp_path):
    with pytest.raises(ManifestError) as caught:
        read(tmp_path / "t.csv", content, encoding)
    assert message in str(caught.value) and str(tmp_path / "t.csv") in str(caught.value)
    assert len(caught.value.problems) == 1


# lines and rows


def test_problems_of_text_files_name_lines_and_those_of_other_tables_rows(tmp_path):
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "a", "text": "z"}]
    lines = [json.dumps(row) for row in rows]
    with pytest.raises(ManifestError, match="line 4: id 'a' is already the id of line 1"):
        read(tmp_path / "t.jsonl", f"{lines[0]}\n\n{lines[1]}\n{lines[2]}\n")
    with pytest.raises(ManifestError, match="line 7: id 'a' is already the id of line 2"):
        read(tmp_path / "t.csv", 'id,text\na,x\n\nb,"two\nlines"\n\na,z\n')
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    with pytest.raises(ManifestError, match="row 3: id 'a' is already the id of row 1"):
        read_manifest(tmp_path / "t.parquet")
    (tmp_path / "T.CSV").write_text("text,mood\nx,1\ny,inf\n")
    (note,) = read_manifest(tmp_path / "T.CSV").notes
    assert note.endswith("counted as missing: line 3")


# names of columns


@pytest.mark.parametrize("audio", ["path", "file", "filename", "wav", "wav_path", "audio_path", "Audio File", "AUDIO"])
@pytest.mark.parametrize("text", ["transcript", "sentence", "Text"])
def test_other_words_for_columns_are_read_with_a_note(audio, text, tmp_path):
    manifest = read(tmp_path / "t.csv", f"{audio},{text},speaker_id,Split\na.wav,hello,ann,train\n")
    clip = manifest[0]
    assert clip.audio == str(tmp_path / "a.wav") and clip.text == "hello" and clip.speaker == "ann"
    assert manifest.column("split") == ["train"]
    (note,) = manifest.notes
    assert f"{audio!r} as 'audio', {text!r} as 'text', 'speaker_id' as 'speaker', 'Split' as 'split'" in note


def test_beside_the_standard_name_another_word_is_a_column_of_its_own(tmp_path):
    manifest = read(tmp_path / "t.csv", "audio,text,filename,sentence\na.wav,hello,orig.wav,a01\n")
    assert manifest.column("filename") == ["orig.wav"] and manifest.column("sentence") == ["a01"]
    again = read_manifest(manifest.write(tmp_path / "again.jsonl"))
    assert again.column("sentence") == ["a01"] and again.column("text") == ["hello"]
    empty = read(tmp_path / "t.csv", "audio,text,sentence\na.wav,,a01\n")
    assert empty.column("text") == [None] and empty.column("sentence") == ["a01"]


@pytest.mark.parametrize("header", ["filename,wav", "path,filename", "Path,path"])
def test_two_other_words_for_one_column_are_refused_with_the_option_that_chooses(header, tmp_path):
    with pytest.raises(ManifestError, match="mean the same \\('audio'\\): keep one, or say which with --audio-column"):
        read(tmp_path / "t.csv", f"{header},mood\na.wav,b.wav,x\n")
    first, second = header.split(",")
    manifest = read_manifest(tmp_path / "t.csv", chosen={"audio": second})
    assert manifest.column("audio") == ["b.wav"] and first not in manifest.table.column_names
    assert f"column {first!r} is not read: {second!r} was chosen as 'audio'" in manifest.notes


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".arrow"])
def test_columns_may_be_named_in_every_format(suffix, tmp_path):
    names = {"声音": "a.wav", "कौन": "ann", "was er sagt": "ja", "text": "nein", "mood": "x"}
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        path.write_text(",".join(names) + "\n" + ",".join(names.values()) + "\n", encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text(json.dumps(names), encoding="utf-8")
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([names]), path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.Table.from_pylist([names]).schema) as writer:
            writer.write_table(pa.Table.from_pylist([names]))
    manifest = read_manifest(path, chosen={"audio": "声音", "text": "was er sagt", "speaker": "कौन"})
    assert manifest.column("audio") == ["a.wav"] and manifest.column("text") == ["ja"]
    assert manifest.column("speaker") == ["ann"] and manifest.label_columns == ["mood"]
    with pytest.raises(
        ManifestError, match=r"column 'wsa er sagt' \(--text-column\) is missing.*Did you mean 'was er sagt'"
    ):
        read_manifest(path, chosen={"audio": "声音", "text": "wsa er sagt"})


# several labels a clip


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_lists_of_labels_are_joined_and_known(suffix, tmp_path):
    rows = [{"text": "x", "tags": t} for t in (["dog", " rain "], [], None, ["dog", "dog"])]
    path = tmp_path / f"t{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    manifest = read_manifest(path)
    assert manifest.column("tags") == ["dog;rain", "none", None, "dog"] and manifest.lists == ("tags",)
    assert [tags_of(v) for v in manifest.column("tags") if v is not None] == [["dog", "rain"], [], ["dog"]]
    assert read_manifest(manifest.write(tmp_path / "again.csv")).column("tags") == manifest.column("tags")


def test_lists_that_hold_no_labels_are_refused_by_line(tmp_path):
    with pytest.raises(ManifestError, match=r"line 2: tags must be a list of text or whole numbers, but holds None"):
        read(tmp_path / "t.jsonl", '{"text": "x", "tags": ["a"]}\n{"text": "x", "tags": [null]}\n')
