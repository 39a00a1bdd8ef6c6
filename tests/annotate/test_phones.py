"""Pronunciations: nothing is guessed, nothing is lost."""

from __future__ import annotations

import pytest

from sonolex.annotate.phones import add_phones, read_lexicon
from sonolex.cli import main
from sonolex.data.manifest import manifest_from_rows, read_manifest

LEXICON = ";;; a comment\nA  AH0\nA(2)  EY1\nCAT  K AE1 T\nDON'T  D OW1 N T # note\n"


@pytest.fixture
def manifest(tmp_path):
    rows = [
        {"id": "1", "text": "A cat!"},
        {"id": "2", "audio": "2.wav", "text": None},
        {"id": "3", "text": "Don’t, cat"},
    ]
    (tmp_path / "lexicon.txt").write_text(LEXICON)
    return manifest_from_rows(rows, root=tmp_path).write(tmp_path / "in.csv")


def test_the_first_pronunciation_counts_and_stress_is_dropped(tmp_path, manifest):
    assert read_lexicon(tmp_path / "lexicon.txt") == {
        "a": ("AH",),
        "cat": ("K", "AE", "T"),
        "don't": ("D", "OW", "N", "T"),
    }
    (tmp_path / "bad.txt").write_text("A  AH0\nCAT\n")
    with pytest.raises(ValueError, match=r"line 2 of .*bad\.txt"):
        read_lexicon(tmp_path / "bad.txt")


def test_every_transcript_gets_its_phones(tmp_path, manifest):
    out = tmp_path / "out.arrow"
    main(["phones", str(manifest), "--lexicon", str(tmp_path / "lexicon.txt"), "--out", str(out)])
    assert read_manifest(out).column("phones") == ["AH | K AE T", None, "D OW N T | K AE T"]


def test_a_word_that_the_lexicon_lacks_is_an_error_or_the_voices(tmp_path, manifest):
    (tmp_path / "lexicon.txt").write_text("A  AH0\nCAT  K AE1 T\n")
    with pytest.raises(ValueError, match=r"lacks 1, for example \"don't\".*voice"):
        add_phones(manifest, out=tmp_path / "out.csv", lexicon=tmp_path / "lexicon.txt")
    pytest.importorskip("espeakng_loader")
    filled = add_phones(manifest, out=tmp_path / "out.csv", lexicon=tmp_path / "lexicon.txt", voice="en-us")
    assert filled.column("phones") == ["AH | K AE T", None, "d oʊ n t | K AE T"]
    spoken = add_phones(manifest, out=tmp_path / "out.csv", voice="en-us")
    assert spoken.column("phones")[2] == "d oʊ n t | k æ t"


def test_the_error_names_what_is_missing(manifest, tmp_path):
    with pytest.raises(ValueError, match="`lexicon` or `voice`"):
        add_phones(manifest, out=tmp_path / "out.csv")
    with pytest.raises(ValueError, match="another file"):
        add_phones(manifest, out=manifest, voice="en-us")
