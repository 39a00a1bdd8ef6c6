from __future__ import annotations

import pytest

from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import build_task
from sonolex.tasks.pretraining import PretrainingConfig
from tests.conftest import TINY

CASES = [(PretrainingConfig("pretraining"), [None] * 4)]


def test_pretraining_terms_can_be_left_out(processor, corpus):
    from tests.systems.test_contract import examples

    made = build_system("ctal", system_type("ctal").matched(TINY, processor))
    task = build_task(PretrainingConfig("pre", weight=0.5, term_weights={"mlm": 0.0}), 8)
    batch = task.prepare(processor.collate(examples(processor, corpus, {"audio", "text"})), made)
    terms = task.losses(made, batch, None)
    assert set(terms) == {"mcam"} and terms["mcam"].weight == 0.5
    wrong = build_task(PretrainingConfig("pre", term_weights={"mlmm": 0.0}), 8)
    with pytest.raises(ValueError, match="mlmm"):
        wrong.prepare(batch, made)
