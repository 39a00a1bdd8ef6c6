"""Log-mel, its normalisations and its limits."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from sonolex.processors.log_mel_and_tokens import LogMelAndTokensProcessor
from tests.conftest import TINY_PROCESSOR


def test_range_raises_what_is_far_below_the_peak_and_nothing_else():
    processor = LogMelAndTokensProcessor.create(
        replace(TINY_PROCESSOR, normalise="fixed", range_db=30.0), transcripts=["a b"]
    )
    front = torch.rand(40, 20)
    front[:10] = -50.0
    kept = LogMelAndTokensProcessor(replace(processor.config, range_db=None), processor.tokenizer).finish(front, "c")
    raised = processor.finish(front, "c")
    lowest = (front.max() - 30 * math.log(10) / 10 + 7.0) / 4.0
    assert torch.allclose(raised[:10, :20], lowest)
    assert torch.equal(raised[10:, :20], kept[10:, :20])
    with pytest.raises(ValueError, match="range_db"):
        replace(TINY_PROCESSOR, range_db=-1.0)


@pytest.mark.parametrize(("normalise", "gain", "colour"), [("fixed", 0, 0), ("level", 1, 0), ("mean", 1, 1)])
def test_each_normalisation_forgets_what_it_says(normalise, gain, colour):
    """A gain adds one number to every log-mel value, a microphone one number a band."""
    processor = LogMelAndTokensProcessor.create(replace(TINY_PROCESSOR, normalise=normalise), transcripts=["a b"])
    front = torch.rand(30, 20)
    plain = processor.finish(front, "c")
    assert torch.allclose(processor.finish(front + 2.0, "c"), plain, atol=1e-5) == bool(gain)
    assert torch.allclose(processor.finish(front + torch.linspace(-1, 1, 20), "c"), plain, atol=1e-5) == bool(colour)


def test_long_clips_are_refused_by_name_or_cut_when_told(processor):
    front = torch.randn(500, 20)
    with pytest.raises(ValueError, match=r"400 frames.*clip-9"):
        processor.finish(front, "clip-9")
    with pytest.raises(ValueError, match=r"40 tokens.*clip-9"):
        processor.tokens("word " * 60, "clip-9")
    cutting = LogMelAndTokensProcessor(replace(processor.config, long_clip="cut"), processor.tokenizer)
    assert cutting.finish(front, "clip-9").shape == (400, 40)
    assert len(cutting.tokens("word " * 60, "clip-9")) == 40
