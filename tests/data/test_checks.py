"""Every clip decoded before anything is trained: all problems at once, and digests of the decoded audio."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from sonolex.data.checks import check_clips, require_unchanged
from sonolex.data.digests import audio_marks, clips_digests, column_digest
from sonolex.data.manifest import ManifestError, manifest_from_rows

RATE = 8000


def tone(path, seconds=0.5, hz=300, **options):
    time_S = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, (9000 * np.sin(2 * np.pi * hz * time_S)).astype(np.int16), RATE, **options)
    return path


def broken(folder):
    """Return a manifest of one good clip and one of every kind that cannot be used."""
    tone(folder / "good.wav")
    tone(folder / "long.wav", 3.0)
    whole = tone(folder / "cut.flac", 3.0).read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "nan.wav", np.full(800, np.nan, np.float32), RATE, subtype="FLOAT")
    rows = [
        {"audio": "good.wav"},
        {"audio": "cut.flac"},
        {"audio": "nan.wav"},
        {"id": "far", "audio": "good.wav", "offset": 29_800.0, "duration": 1.0},
        {"id": "end", "audio": "good.wav", "offset": 0.2, "duration": 5.0},
        {"audio": "long.wav"},
        {"audio": "gone.wav"},
        {"text": "only words"},
    ]
    return manifest_from_rows(rows, root=folder)


def test_all_clips_that_cannot_be_used_are_listed_at_once(tmp_path):
    checked = check_clips(broken(tmp_path), longest_s=2.0, reader="ctal")
    problems = checked.problems
    assert sorted(problems) == [1, 2, 3, 4, 5, 6]
    assert "num_samples" in problems[1] or "decoded" in problems[1]
    assert (
        "finite" in problems[2]
        and "offset must lie in 0 to 0.500 s" in problems[3]
        and "must end within" in problems[4]
    )
    assert "must last less than 2 s for ctal, but lasts 3.00 s (clip 'long'" in problems[5] and "missing" in problems[6]
    assert all("\n" not in problem for problem in problems.values())
    assert checked.manifest.durations_s[[0, 7]].tolist() == [0.5, 0.0] and checked.manifest.hours > 0
    has_digest = [d is not None for d in checked.manifest.column("audio_digest")]
    assert has_digest == [True, False, False, False, False, True, False, False]


def test_offsets_beyond_the_end_are_no_negative_lengths(tmp_path):
    tone(tmp_path / "good.wav")
    with pytest.raises(ManifestError, match=r"offset must lie in 0 to 0\.500 s, but is 29800\.0"):
        manifest_from_rows([{"audio": "good.wav", "offset": 29_800.0}], root=tmp_path).with_durations()


def test_a_length_that_is_not_the_files_is_noted(tmp_path):
    tone(tmp_path / "a.wav", 1.0)
    checked = check_clips(manifest_from_rows([{"audio": "a.wav", "duration": 0.25}], root=tmp_path))
    assert "1 clips are longer or shorter than their duration says ('a': 1.00 s, not 0.25)" in checked.notes[0]
    assert checked.manifest.durations_s[0] == 1.0


def test_digests_depend_on_the_audio_not_on_its_place(tmp_path):
    tone(tmp_path / "a.wav")
    tone(tmp_path / "b.flac")
    tone(tmp_path / "c.wav", hz=301)
    rows = [{"audio": n} for n in ("a.wav", "b.flac", "c.wav")]
    manifest = check_clips(manifest_from_rows(rows, root=tmp_path)).manifest
    a, b, c = manifest.column("audio_digest")
    assert a == b != c
    require_unchanged(manifest)
    tone(tmp_path / "c.wav", hz=302)
    with pytest.raises(ValueError, match=r"1 clips do not, for example 'c'"):
        require_unchanged(manifest)


def test_column_digests_depend_on_values_alone():
    values = [("a", "x", 1, True), ("b", "y", 2, False), ("c", "x", None, None), ("d", "z", 4, True)]
    manifest = manifest_from_rows([dict(zip(("text", "mood", "age", "ok"), v, strict=True)) for v in values])
    parts = manifest.take([0, 1, 2, 3])
    pieces = pa.concat_tables([manifest.table.slice(i, 1) for i in range(4)])
    for name in ("text", "mood", "age", "ok"):
        assert column_digest(pieces[name]) == column_digest(manifest.table[name]) == column_digest(parts.table[name])
        assert column_digest(manifest.table[name].take(pa.array([1, 0, 2, 3]))) != column_digest(manifest.table[name])
    assert column_digest(pa.chunked_array([["ab", "c"]])) != column_digest(pa.chunked_array([["a", "bc"]]))
    assert column_digest(pa.chunked_array([["", None]])) != column_digest(pa.chunked_array([[None, ""]]))


def test_audio_without_a_digest_is_known_by_its_file(tmp_path):
    tone(tmp_path / "a.wav")
    manifest = manifest_from_rows([{"audio": "a.wav"}, {"text": "x"}, {"audio": "gone.wav"}], root=tmp_path)
    marks = audio_marks(manifest, places=False)
    assert marks[1:] == ["none", "missing"] and "bytes" in marks[0]
    before = clips_digests(manifest, ["id"], places=True)
    tone(tmp_path / "a.wav", 0.6)
    after = clips_digests(manifest, ["id"], places=True)
    assert before["id"] == after["id"] and before["audio"] != after["audio"]
