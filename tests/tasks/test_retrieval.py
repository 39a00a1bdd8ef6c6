from __future__ import annotations

import pytest
import torch

from sonolex.tasks.base import build_task
from sonolex.tasks.retrieval import RetrievalConfig
from sonolex.types import Encoding

CASES = [(RetrievalConfig("words"), ["a dog", "rain", "a dog", None])]


def test_scores_are_both_vectors_side_by_side_and_zeros_for_one_that_is_lacking():
    task = build_task(RetrievalConfig("words"), 4)
    found = task.scores(Encoding(torch.zeros(2, 4), aligned={"audio": torch.ones(2, 3)}))
    assert found.tolist() == [[1.0] * 3 + [0.0] * 3] * 2


def test_a_system_that_aligns_nothing_is_refused():
    with pytest.raises(ValueError, match="comparable across modalities"):
        build_task(RetrievalConfig("words"), 4).scores(Encoding(torch.zeros(2, 4)))
