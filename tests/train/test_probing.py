from __future__ import annotations

from dataclasses import replace

import pytest

from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget
from sonolex.train.series import train_all
from tests.train.helpers import MOOD, PITCH, small_run


@pytest.mark.parametrize("classifier", ["linear", "svm", "nearest"])
def test_frozen_vectors_tell_what_is_plain_and_nothing_is_trained(classifier, corpus, tmp_path):
    budget = Budget(epochs=1, batch_s=8)
    first = small_run(corpus.root, name="first", tasks=(PretrainingConfig("pretraining"),), budget=budget)
    probes = [
        small_run(corpus.root, name="random", tasks=(PITCH,), frozen_classifier=classifier),
        small_run(corpus.root, name="given", tasks=(PITCH,), frozen_classifier=classifier, init_from="first"),
    ]
    _, random, given = train_all([first, *probes], tmp_path, quiet=True, say=lambda text: None)
    enough = 0.6 if classifier == "nearest" else 0.8  # of two classes; neighbours weigh all dimensions alike
    assert random["scores"]["pitch"]["accuracy"] > enough and given["scores"]["pitch"]["accuracy"] > enough
    assert random["steps"] == 0 and random["init_from"] is None and given["init_from"] == "first"
    assert (tmp_path / "given" / "predictions" / "pitch.json").is_file()
    before = (tmp_path / "given" / "results.json").read_bytes()
    train_all([first, *probes], tmp_path, quiet=True, say=lambda text: None)
    assert (tmp_path / "given" / "results.json").read_bytes() == before


def test_only_one_classification_can_be_probed(corpus, tmp_path):
    run = small_run(corpus.root, tasks=(PITCH, MOOD), frozen_classifier="svm")
    with pytest.raises(ValueError, match="one classification"):
        train_all([run], tmp_path, quiet=True)
    with pytest.raises(ValueError, match="frozen_classifier"):
        replace(run, frozen_classifier="forest")
