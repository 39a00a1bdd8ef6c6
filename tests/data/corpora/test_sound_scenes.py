from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sonolex.data.corpora import sound_scenes
from tests.data.corpora.miniatures import digests


def test_sound_scenes_are_the_same_every_time_and_their_questions_balanced(tmp_path):
    scenes = sound_scenes.prepare(tmp_path / "a", size="tiny")
    assert digests(scenes) == digests(sound_scenes.prepare(tmp_path / "b", size="tiny"))
    assert len(scenes) == 180 and set(scenes.column("split")) == set(sound_scenes.SPLITS)
    assert Counter(scenes.where(question="present").column("present")) == {"yes": 30, "no": 30}
    assert set(scenes.where(question="last").column("last")) == set(sound_scenes.EVENTS)
    assert {str(n) for n in scenes.where(question="count").column("count")} == set(sound_scenes.COUNTS)
    assert set(scenes.where(question="count").column("last")) == {None}
    by_split = {s: set(scenes.where(split=s).column("source_id")) for s in sound_scenes.SPLITS}
    assert not by_split["train"] & by_split["test"]


@pytest.mark.parametrize("event", sound_scenes.EVENTS)
def test_every_sound_is_finite_and_at_full_scale(event):
    wave = sound_scenes.sound(event, np.random.default_rng(0))
    assert np.isfinite(wave).all() and 0.8 < np.abs(wave).max() <= 1.0


def test_unknown_sizes_are_refused():
    with pytest.raises(ValueError, match="tiny"):
        sound_scenes.prepare(size="huge")
