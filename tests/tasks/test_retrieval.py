from __future__ import annotations

import pytest
import torch

from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.retrieval import RetrievalConfig
from sonolex.types import Encoding
from tests.conftest import TINY

CASES = [(RetrievalConfig("words"), ["a dog", "rain", "a dog", None])]


def test_scores_are_both_vectors_side_by_side_and_zeros_for_one_that_is_lacking():
    task = build_task(RetrievalConfig("words"), 4)
    found = task.scores(Encoding(torch.zeros(2, 4), aligned={"audio": torch.ones(2, 3)}))
    assert found.tolist() == [[1.0] * 3 + [0.0] * 3] * 2


def test_a_system_that_aligns_nothing_is_refused_before_it_is_trained(processor):
    made = build_system("ctal", system_type("ctal").matched(TINY, processor))
    with pytest.raises(ValueError, match="task 'words' must have vectors that are comparable across modalities"):
        Model(made, {"words": build_task(RetrievalConfig("words"), 8)})
