"""Folds of a user's table: no speaker in two, every class in each where that is possible."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sonolex.data.folds import class_counts, stratified_groups
from sonolex.data.manifest import ManifestError, manifest_from_rows
from sonolex.data.parts import divide


def table(speakers, labels, **columns):
    pairs = enumerate(zip(speakers, labels, strict=True))
    manifest = manifest_from_rows([{"id": f"c{i}", "text": "x", "speaker": s, "mood": m} for i, (s, m) in pairs])
    for name, values in columns.items():
        manifest = manifest.with_column(name, values)
    return manifest


def folded(manifest, **options):
    return divide(manifest, strata=manifest.column("mood"), seed=0, **({"folds": "auto"} | options))


def test_a_small_table_is_cross_validated_by_speaker_with_every_class_in_each_fold():
    rng = np.random.default_rng(0)
    speakers = [f"s{i}" for i in range(12) for _ in range(30)]
    labels = ["rare" if i // 30 in (0, 3, 5, 8, 10, 11) and i % 30 < 3 else rng.choice(["a", "b"]) for i in range(360)]
    divided = folded(table(speakers, labels))
    folds = divided.manifest.column("fold")
    assert divided.folds and len(set(folds)) == 5 and len(set(zip(speakers, folds, strict=True))) == 12
    assert len(set(zip(labels, folds, strict=True))) == 15 and set(divided.manifest.column("split")) == {None}
    assert "no speaker in two of them" in divided.notes[0] and "would have 2 of the 12 speakers" in divided.notes[0]
    assert any("fewer than 10 clips of 'rare'" in n for n in divided.notes)


def test_many_speakers_and_clips_are_divided_once_and_a_given_split_is_kept():
    speakers = [f"s{i // 20}" for i in range(1000)]
    many = table(speakers, ["ab"[i % 2] for i in range(1000)])
    assert not folded(many).folds and folded(many, folds="5").folds
    few = table([f"s{i // 5}" for i in range(200)], ["ab"[i % 2] for i in range(200)])
    assert "would have 15 clips of 'a'" in folded(few).notes[0]
    split_table = few.with_column("split", ["train"] * 150 + ["test"] * 50)
    assert not folded(split_table).folds
    with pytest.raises(ManifestError, match="divides the table already"):
        folded(split_table, folds="5")


def test_without_speakers_clips_are_dealt_with_a_warning():
    divided = folded(table([None] * 60, ["ab"[i % 2] for i in range(60)]))
    assert "of clips at random" in divided.notes[0] and "flatter" in divided.warnings[0]
    counts = Counter(zip(divided.parts, divided.manifest.column("mood"), strict=True))
    assert set(counts.values()) == {6}
    two = folded(table([f"s{i % 2}" for i in range(60)], ["ab"[i // 2 % 2] for i in range(60)]))
    assert "only 2 speakers" in two.warnings[0]
    with pytest.raises(ManifestError, match="`folds` can only be speaker with a column 'speaker'"):
        folded(table([None] * 60, ["ab"[i % 2] for i in range(60)]), folds="speaker")


def test_one_speaker_a_fold_given_folds_and_too_many_folds():
    speakers = [f"s{i % 4}" for i in range(40)]
    manifest = table(speakers, ["ab"[i // 4 % 2] for i in range(40)])
    by_speaker = folded(manifest, folds="speaker")
    assert len(set(by_speaker.parts)) == 4 == len(set(zip(speakers, by_speaker.parts, strict=True)))
    with pytest.raises(ManifestError, match="at most the 4 speakers, but is 7"):
        folded(manifest, folds="7")
    divided = folded(manifest.with_column("fold", [str(i % 5) for i in range(40)]))
    assert (
        "as given in column 'fold'" in divided.notes[0] and "are in several of the given folds" in divided.warnings[0]
    )


def test_the_split_seed_moves_the_folds_and_nothing_else_does():
    manifest = table([f"s{i // 3}" for i in range(90)], ["ab"[i % 2] for i in range(90)])
    strata = manifest.column("mood")
    parts = [divide(manifest, strata=strata, seed=s, folds="auto").parts for s in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_a_class_of_one_speaker_and_more_parts_than_groups_have():
    parts = stratified_groups(["a"] * 8 + ["b", "c", "d"] * 4, ["x"] * 8 + ["y"] * 12, 3, seed=0)
    assert set(parts) == {0, 1, 2} and len(set(parts[:8])) == 1
    lines, warnings = class_counts(["x", "y"], ["1", "2"])
    assert lines[1].split() == ["x", "1", "0"] and "'x' (0)" in warnings[0]
