from __future__ import annotations

import numpy as np
import pytest

from sonolex.objectives.unit_alignment import align, letter_units


def spoken(letters, rng, sounds):
    """Units of letters said at random speeds, each by its own sounds in their order."""
    return np.concatenate([np.repeat(sounds[i], rng.integers(2, 5)) for i in letters])


def test_alignment_by_hand():
    log_chances = np.log(np.array([[0.8, 0.2], [0.2, 0.8]]))
    assert align(np.array([1, 0, 0, 1]), np.array([0, 1]), log_chances).tolist() == [0, 0, 0, 1]
    assert align(np.array([0, 0]), np.array([0, 0]), log_chances).tolist() == [0, 1]  # no letter is left out
    with pytest.raises(ValueError, match="frame for every letter"):
        align(np.array([0]), np.array([0, 1]), log_chances)


def test_letters_learn_their_units_and_durations_from_pairs_alone():
    rng = np.random.default_rng(0)
    sounds = {0: [3], 1: [5, 1], 2: [2], 3: [7, 4]}
    texts = [rng.integers(0, 4, rng.integers(3, 8)) for _ in range(200)]
    clips = [(spoken(t, rng, sounds), t) for t in texts]
    found = letter_units([*clips, (np.array([1]), np.array([0, 1]))], num_letters=6, num_units=8)
    assert [list(dict.fromkeys(units)) for units in found[:4]] == [sounds[i] for i in range(4)]
    assert [len(units) for units in found[:4]] == pytest.approx([3, 6, 3, 6], abs=1)
    assert found[4:] == [[], []]
    with pytest.raises(ValueError, match="paired clips"):
        letter_units([(np.array([1]), np.array([0, 1]))], num_letters=2, num_units=2)
