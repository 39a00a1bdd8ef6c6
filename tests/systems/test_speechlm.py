"""SpeechLM beyond the contract: transcripts as units."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sonolex.systems.base import build_system
from sonolex.systems.speechlm import SpeechLmConfig
from sonolex.types import Batch, Padded
from tests.systems.cases.small import SPEECHLM
from tests.systems.test_contract import SYSTEMS, built, examples, processors

__all__ = ["processors"]  # a fixture

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


def batch_of(tokens, num_spoken=None):
    names = tuple(f"clip-{i}" for i in range(len(tokens.values)))
    extras = {} if num_spoken is None else {"num_spoken": num_spoken}
    return Batch(names, tokens=tokens, seeds=tuple(range(len(names))), extras=extras)


@pytest.mark.parametrize("counted", [True, False])
def test_letters_are_spoken_one_after_the_other_and_the_end_is_not(system, counted):
    """Silent letters have no unit; a transcript of them alone is one unit, 0; an empty one is none."""
    letters = written([4, SILENT, 6, END], [5, END], [SILENT, SILENT, END], [END], [])
    units = system._units_of(batch_of(letters, (5, 1, 1, 0, 0) if counted else None))
    rows = [units_T[valid_T].tolist() for units_T, valid_T in zip(units.values, units.valid, strict=True)]
    assert rows == [[1, 2, 3, 5, 6], [4], [0], [], []]
    assert units.values.shape[1] == (5 if counted else 9)  # 4 letters of 3 units at most, but of 9 positions


def test_the_processor_counts_units_which_changes_no_vector(processors, corpus):
    processor = processors["speechlm"]
    system = built("speechlm", SYSTEMS["speechlm"][0], processor)
    counted = processor.collate(examples(processor, corpus, {"text"}))
    found, plain = system.encode(counted), system.encode(replace(counted, extras={}))
    assert counted.extras["num_spoken"] == tuple(plain.valid["text"].sum(1).tolist())
    assert found.streams["text"].shape[1] == max(counted.extras["num_spoken"]) < plain.streams["text"].shape[1]
    assert torch.allclose(found.pooled_BD, plain.pooled_BD, atol=1e-6)


def test_a_transcript_of_more_units_than_positions_is_refused_by_clip(system):
    with pytest.raises(ValueError, match=r"at most 9 units long.*but is 12 \(clip 'clip-1'\)"):
        system.encode(batch_of(written([5, END], [4, 4, 4, 4, END]), (1, 12)))
