from __future__ import annotations

import numpy as np
import pytest

from sonolex.scores.probe import SCORER


def voices(num_speakers: int = 10, num_clips: int = 12, seed: int = 0):
    """Return vectors that know the speaker and nothing else, with moods of which every speaker has mostly one."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(num_speakers), num_clips)
    moods = np.where(rng.random(len(speakers)) < 0.9, speakers % 2, 1 - speakers % 2)
    vectors = rng.normal(size=(num_speakers, 8))[speakers] * 3 + rng.normal(size=(len(speakers), 8)) * 0.1
    return vectors, [("sad", "glad")[m] for m in moods], [f"speaker {s}" for s in speakers]


def test_a_probe_divides_clips_by_speaker_so_that_a_known_voice_tells_nothing():
    vectors, moods, speakers = voices()
    by_clip = SCORER.score(moods, vectors)
    by_speaker = SCORER.score(moods, vectors, groups=speakers)
    for probe in ("knn_accuracy", "linear_accuracy"):
        assert by_clip[probe] > 0.75 and by_speaker[probe] < 0.6
    assert SCORER.score(moods, vectors, {"across": "clips"}, groups=speakers) == by_clip
    alone = [f"clip {i}" for i in range(len(moods))]
    assert SCORER.score(moods, vectors, groups=alone) == by_clip
    assert SCORER.score(moods, vectors, groups=[None] * len(moods)) == by_clip


def test_a_class_of_one_speaker_cannot_be_probed_across_speakers():
    vectors, _, speakers = voices(4)
    accents = ["north" if s == "speaker 0" else "south" for s in speakers]
    with pytest.raises(ValueError, match=r"2 groups .* of every class, but 'north' has 1.*across clips"):
        SCORER.score(accents, vectors, groups=speakers)
    assert SCORER.score(accents, vectors, {"across": "clips"}, groups=speakers)["knn_accuracy"] == 1.0
