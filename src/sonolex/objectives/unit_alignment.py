"""From letters to hidden units: which units a letter is spoken as, and for how long, learned from paired clips.

A hidden Markov model with one state a letter, trained by Viterbi from an even start (flat start). Every letter then has
one sequence of units: as many as its mean duration, each the most frequent one at that point of the letter. It stands
for SpeechLM's text-to-unit model (study, section 2.3.1), and is small enough to read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SMOOTHING = 0.5  # of counts: a unit that never occurs in a letter is unlikely, not impossible


def align(units_T: np.ndarray, letters_L: np.ndarray, log_chances_VU: np.ndarray) -> np.ndarray:
    """Return each frame's letter of the clip (T,), by number: the likeliest monotonic path through all letters.

    Raises:
        ValueError: fewer frames than letters.

    >>> sure = np.log(np.array([[0.9, 0.1], [0.1, 0.9]]))
    >>> align(np.array([0, 0, 1, 1, 1]), np.array([0, 1]), sure).tolist()
    [0, 0, 1, 1, 1]
    """
    num_frames, num_letters = len(units_T), len(letters_L)
    if num_frames < num_letters:
        raise ValueError(f"a clip must have a frame for every letter ({num_letters}), but has {num_frames}.")
    scores_TL = log_chances_VU[letters_L][:, units_T].T
    best_L = np.full(num_letters, -np.inf)
    best_L[0] = scores_TL[0, 0]
    advanced_TL = np.zeros((num_frames, num_letters), bool)
    for frame in range(1, num_frames):
        from_before_L = np.concatenate([[-np.inf], best_L[:-1]])
        advanced_TL[frame] = from_before_L > best_L
        best_L = np.maximum(best_L, from_before_L) + scores_TL[frame]
    path_T, letter = np.zeros(num_frames, int), num_letters - 1
    for frame in range(num_frames - 1, -1, -1):
        path_T[frame] = letter
        letter -= int(advanced_TL[frame, letter])
    return path_T


def aligned_paths(
    clips: Sequence[tuple[np.ndarray, np.ndarray]], num_letters: int, num_units: int, *, num_passes: int = 5
) -> list[np.ndarray]:
    """Return the path (T,) of each clip, given as (units, letters): the letter of every frame, learned from all clips.

    Raises:
        ValueError: a clip has fewer frames than letters.
    """
    paths = [np.arange(len(u)) * len(letters) // len(u) for u, letters in clips]
    for _ in range(num_passes):
        counts_VU = np.full((num_letters, num_units), SMOOTHING)
        for (units_T, letters_L), path_T in zip(clips, paths, strict=True):
            np.add.at(counts_VU, (letters_L[path_T], units_T), 1)
        log_chances_VU = np.log(counts_VU / counts_VU.sum(1, keepdims=True))
        paths = [align(u, letters, log_chances_VU) for u, letters in clips]
    return paths


def letter_units(
    clips: Sequence[tuple[np.ndarray, np.ndarray]], *, num_letters: int, num_units: int
) -> list[list[int]]:
    """Return the units of every letter, from (units, letters) of paired clips; empty for a letter that no clip has.

    Clips with fewer frames than letters are skipped.

    Raises:
        ValueError: all clips are skipped.
    """
    clips = [(u, letters) for u, letters in clips if 0 < len(letters) <= len(u)]
    if not clips:
        raise ValueError("paired clips must have at least one with a frame for every letter, but there is none.")
    paths = aligned_paths(clips, num_letters, num_units)
    spoken: dict[int, list[np.ndarray]] = {}
    for (units_T, letters_L), path_T in zip(clips, paths, strict=True):
        for place, letter in enumerate(letters_L.tolist()):
            spoken.setdefault(letter, []).append(units_T[path_T == place])
    return [_typical(spoken.get(letter, []), num_units) for letter in range(num_letters)]


def _typical(segments: Sequence[np.ndarray], num_units: int) -> list[int]:
    """Return one sequence for all of them: of their mean length, the most frequent unit at each point."""
    if not segments:
        return []
    length = max(1, round(float(np.mean([len(s) for s in segments]))))
    at_point = [np.array([s[int((i + 0.5) * len(s) / length)] for s in segments]) for i in range(length)]
    return [int(np.bincount(units, minlength=num_units).argmax()) for units in at_point]
