"""Features of a table are measured once, whatever the table is called and however its rows lie."""

from __future__ import annotations

import numpy as np
import pytest

from sonolex.cache import clear, contents
from sonolex.data.checks import check_clips
from sonolex.doors.fit import features, fit


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """The clips that were measured, and a cache of the test's own."""
    monkeypatch.setenv("SONOLEX_CACHE", str(tmp_path / "cache"))
    clips, real = [], features._statistics_of
    monkeypatch.setattr(features, "_statistics_of", lambda clip: clips.append(clip.id) or real(clip))
    return clips


def test_the_same_recordings_are_measured_once_in_any_order_and_under_any_name(corpus, counted):
    table = check_clips(corpus.take(range(8))).manifest
    first = features.measured(table, words=True)
    assert sorted(counted) == sorted(table.column("id"))
    other = table.take(range(7, -1, -1)).with_column("id", [f"other{i}" for i in range(8)])
    told = []
    again = features.measured(other, words=True, advance=lambda: told.append(1))
    assert len(counted) == 8 and not told
    assert np.array_equal(again.audio_NF[::-1], first.audio_NF) and again.heard_N.all()
    features.measured(table.take(range(4)), words=False)
    assert len(counted) == 12  # another set of clips
    (kept,) = contents()
    assert kept.name == "features" and kept.num_files == 2
    clear("features")
    features.measured(table, words=False)
    assert len(counted) == 20


def test_other_audio_at_the_same_place_is_measured_again(corpus, counted):
    table = check_clips(corpus.take(range(2))).manifest
    swapped = table.with_column("audio", table.column("audio")[::-1])
    first = features.measured(table, words=False)
    found = features.measured(check_clips(swapped).manifest, words=False)
    assert np.array_equal(found.audio_NF[::-1], first.audio_NF)
    assert len(counted) == 2  # the same two recordings
    excerpt = table.with_column("offset_s", [0.0, 0.0]).with_column("duration_s", [0.1, 0.1])
    assert not np.allclose(features.measured(check_clips(excerpt).manifest, words=False).audio_NF, first.audio_NF)
    unknown = excerpt.with_column("audio_digest", [None, None])  # known by file and excerpt
    longer = unknown.with_column("duration_s", [0.2, 0.2])
    both = [features.measured(t, words=False).audio_NF for t in (unknown, longer)]
    assert not np.allclose(both[0], both[1])


def test_clips_without_audio_have_zeros_and_clips_twice_the_same(corpus, counted):
    table = check_clips(corpus.take(range(3))).manifest
    audio = table.column("audio")
    table = check_clips(table.with_column("audio", [audio[0], None, audio[0]])).manifest
    found = features.measured(table, words=True)
    assert found.heard_N.tolist() == [True, False, True] and not found.audio_NF[1].any()
    assert np.array_equal(found.audio_NF[0], found.audio_NF[2]) and len(counted) == 1


def test_a_second_fit_of_the_same_table_does_not_measure_again(corpus, counted, tmp_path):
    asked = {"label": "pitch", "system": "statistics", "quiet": True, "say": lambda text: None}
    first = fit(corpus.root / "manifest.arrow", out=tmp_path / "first", **asked)
    assert len(counted) == 48
    second = fit(corpus.root / "manifest.arrow", out=tmp_path / "second", **asked)
    assert len(counted) == 48 and second["scores"] == first["scores"]
