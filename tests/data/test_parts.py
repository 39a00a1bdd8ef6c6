"""The parts of a user's table: what its ``split`` says, and who speaks in which."""

from __future__ import annotations

from collections import Counter

import pytest

from sonolex.data.manifest import ManifestError, manifest_from_rows
from sonolex.data.parts import divide


def table(splits, speakers=None, **columns):
    rows = [
        {"id": f"c{i}", "text": "x", "split": s, "mood": "ab"[i % 2], "speaker": speakers[i] if speakers else None}
        for i, s in enumerate(splits)
    ]
    manifest = manifest_from_rows(rows)
    for name, values in columns.items():
        manifest = manifest.with_column(name, values)
    return manifest


def parts_of(manifest, **options):
    divided = divide(manifest, strata=manifest.column("mood"), seed=0, **options)
    return divided.manifest.column("split"), divided.notes, divided.warnings


@pytest.mark.parametrize("names", [("train", "dev", "test"), (" Train", "VAL ", "Eval"), ("training", "valid", "test")])
def test_other_names_case_and_spaces_mean_the_same_parts(names):
    parts, notes, _ = parts_of(table([n for n in names for _ in range(4)]))
    assert parts == [p for p in ("train", "validation", "test") for _ in range(4)] and "as given" in notes[0]


def test_a_table_of_train_and_test_alone_keeps_its_test_clips_and_takes_validation_from_train():
    splits = ["train"] * 24 + ["test"] * 8
    parts, notes, warnings = parts_of(table(splits, [f"s{i // 4}" for i in range(32)]))
    assert [p == "test" for p in parts] == [s == "test" for s in splits]  # no test clip is trained on
    spoken = {p: {i // 4 for i, q in enumerate(parts) if q == p} for p in parts}
    assert spoken["validation"] and not spoken["validation"] & spoken["train"] and not warnings
    assert "no validation part, so that was taken from train by speaker" in notes[0]
    parts, notes, warnings = parts_of(table(splits))
    assert Counter(parts)["validation"] >= 2 and parts[24:] == ["test"] * 8 and "at random" in notes[0]
    moods = Counter(("ab"[i % 2]) for i, p in enumerate(parts) if p == "validation")
    assert len(moods) == 2 and "no column 'speaker'" in warnings[0]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train"] * 10 + ["test"] * 5 + ["holdout"] * 3, "'train' in 10 rows, 'test' in 5 rows, 'holdout' in 3 rows"),
        (["train"] * 10 + ["test"] * 5 + [None] * 2, "(empty) in 2 rows"),
        (["train"] * 10, "clips to train on and clips to test on, but says 'train' in 10 rows"),
        (["train"] * 10 + ["dev"] * 3, "clips to test on"),
        (["1"] * 10 + ["2"] * 3, "'1' in 10 rows, '2' in 3 rows"),
    ],
)
def test_a_split_that_says_something_else_is_refused_with_its_values_and_counts(splits, message):
    with pytest.raises(ManifestError) as caught:
        parts_of(table(splits))
    assert message in str(caught.value) and "remove it and the table is divided" in str(caught.value)


def test_a_given_split_that_shares_speakers_warns_with_their_names():
    splits = ["train"] * 8 + ["validation"] * 4 + ["test"] * 4
    speakers = [f"s{i // 4}" for i in range(16)]
    speakers[15] = "s0"
    _, _, warnings = parts_of(table(splits, speakers))
    assert warnings == [
        "1 of the 2 speakers of the test part are in training or validation too (s0), so the scores flatter"
    ]
    speakers[8], speakers[0] = "s1", None
    _, _, warnings = parts_of(table(splits, speakers))
    assert "1 speakers of the validation part are in training too (s1)" in warnings
    assert "1 clips have no speaker: whether their voices are in two parts is not known" in warnings


def test_to_tell_speakers_apart_all_of_them_are_in_training():
    speakers = [f"s{i % 4}" for i in range(48)]
    bare = table([None] * 48, speakers)
    parts, notes, warnings = parts_of(bare, names_speakers=True)
    for part in ("train", "validation", "test"):
        assert {s for s, p in zip(speakers, parts, strict=True) if p == part} == set(speakers)
    assert notes[0] == "split: within speakers, because they are the classes, at random" and not warnings
    sessions = [f"day {i // 4 % 3}" for i in range(48)]  # every speaker on three days
    parts, notes, _ = parts_of(bare.with_column("session", sessions), names_speakers=True)
    assert "no session in two parts" in notes[0]
    assert len({(s, d, p) for s, d, p in zip(speakers, sessions, parts, strict=True)}) == 12
    divided_table = table(["train"] * 40 + ["test"] * 8, ["a", "b"] * 20 + ["c"] * 8)
    with pytest.raises(ManifestError, match=r"all speakers must be in training to be told apart, but 1 are not \(c\)"):
        parts_of(divided_table, names_speakers=True)


def test_the_same_recording_under_two_names_in_two_parts_warns():
    manifest = table(["train"] * 8 + ["test"] * 4, [f"s{i // 4}" for i in range(12)])
    manifest = manifest.with_column("audio_digest", ["d0", *(f"d{i}" for i in range(1, 11)), "d0"])
    _, _, warnings = parts_of(manifest)
    assert warnings == ["1 clips have the same audio as a clip of another part (c0 = c11)"]
