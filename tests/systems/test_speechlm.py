"""SpeechLM beyond the contract: transcripts as units."""

from __future__ import annotations

import pytest
import torch

from sonolex.systems.base import build_system
from sonolex.systems.speechlm import SpeechLmConfig
from sonolex.types import Batch, Padded
from tests.systems.cases.small import SPEECHLM

END, SILENT = 2, 3
LETTER_UNITS = ((), (), (7,), (), (1, 2, 3), (4,), (5, 6))


@pytest.fixture(scope="module")
def system():
    sizes = {"vocab_size": 7, "num_units": 8, "num_mels": 16, "unit_positions": 9, "objectives": ("text_ctc",)}
    return build_system("speechlm", SpeechLmConfig(**SPEECHLM, **sizes, letter_units=LETTER_UNITS)).eval()


def written(*transcripts):
    longest = max(map(len, transcripts))
    tokens_BL = torch.tensor([[*letters, *[0] * (longest - len(letters))] for letters in transcripts])
    sizes_B1 = torch.tensor([[len(letters)] for letters in transcripts])
    return Padded.of(tokens_BL, torch.arange(longest) < sizes_B1)


def batch_of(tokens):
    names = tuple(f"clip-{i}" for i in range(len(tokens.values)))
    return Batch(names, tokens=tokens, seeds=tuple(range(len(names))))


@pytest.mark.parametrize("counted", [True, False])
def test_letters_are_spoken_one_after_the_other_and_the_end_is_not(system, counted):
    """Silent letters have no unit; a transcript of them alone is one unit, 0; an empty one is none."""
    letters = written([4, SILENT, 6, END], [5, END], [SILENT, SILENT, END], [END], [])
    num_units = system.corrupt(batch_of(letters)).extras["num_spoken"]
    assert num_units == (5, 1, 1, 0, 0)
    units = system._units_of(letters, num_units if counted else None)
    rows = [units_T[valid_T].tolist() for units_T, valid_T in zip(units.values, units.valid, strict=True)]
    assert rows == [[1, 2, 3, 5, 6], [4], [0], [], []]
    assert units.values.shape[1] == (5 if counted else 9)  # 4 letters of 3 units at most, but of 9 positions


def test_counting_units_before_changes_no_vector(system):
    batch = batch_of(written([4, 4, 5, END], [6, END]))
    counted = system.encode(system.corrupt(batch))
    assert counted.streams["text"].shape[1] == 7
    assert torch.allclose(system.encode(batch).pooled_BD, counted.pooled_BD, atol=1e-6)


def test_a_transcript_of_more_units_than_positions_is_refused_by_clip(system):
    with pytest.raises(ValueError, match=r"at most 9 units long.*but is 12 \(clip 'clip-1'\)"):
        system.corrupt(batch_of(written([5, END], [4, 4, 4, 4, END])))
