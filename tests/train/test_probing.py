from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget
from sonolex.train.series import train_all
from tests.train.helpers import MOOD, PITCH, small_run


@pytest.mark.parametrize("classifier", ["linear", "svm", "nearest", "noisy"])
def test_frozen_vectors_tell_what_is_plain_and_nothing_is_trained(classifier, corpus, tmp_path):
    budget = Budget(epochs=1, batch_s=8)
    first = small_run(corpus.root, name="first", tasks=(PretrainingConfig("pretraining"),), budget=budget)
    probes = [
        small_run(corpus.root, name="random", tasks=(PITCH,), frozen_classifier=classifier),
        small_run(corpus.root, name="given", tasks=(PITCH,), frozen_classifier=classifier, init_from="first"),
    ]
    _, random, pretrained = train_all([first, *probes], tmp_path, quiet=True, say=lambda text: None)
    enough = 0.6 if classifier in ("nearest", "noisy") else 0.8  # of two classes; these weigh all dimensions alike
    assert random["scores"]["pitch"]["accuracy"] > enough and pretrained["scores"]["pitch"]["accuracy"] > enough
    assert random["steps"] == 0 and random["init_from"] is None and pretrained["init_from"] == "first"
    assert (tmp_path / "given" / "predictions" / "pitch.json").is_file()
    before = (tmp_path / "given" / "results.json").read_bytes()
    train_all([first, *probes], tmp_path, quiet=True, say=lambda text: None)
    assert (tmp_path / "given" / "results.json").read_bytes() == before


def test_every_task_has_a_classifier_of_its_own(corpus, tmp_path):
    runs = [
        small_run(corpus.root, name=name, tasks=tasks, frozen_classifier="svm")
        for name, tasks in {"both": (PITCH, MOOD), "pitch": (PITCH,), "mood": (MOOD,)}.items()
    ]
    both, pitch, mood = train_all(runs, tmp_path, quiet=True, say=lambda text: None)
    assert both["scores"] == pitch["scores"] | mood["scores"]
    assert both["selection_value"] == pytest.approx((pitch["selection_value"] + mood["selection_value"]) / 2)


def test_only_classifications_can_be_probed(corpus, tmp_path):
    run = small_run(corpus.root, tasks=(PITCH, PretrainingConfig("pretraining")), frozen_classifier="svm")
    with pytest.raises(ValueError, match="must be classifications"):
        train_all([run], tmp_path, quiet=True)
    silent = replace(PITCH, label="unheard")
    with pytest.raises(ValueError, match="label of task 'pitch'"):
        train_all([small_run(corpus.root, tasks=(silent,), frozen_classifier="svm")], tmp_path / "silent", quiet=True)
    with pytest.raises(ValueError, match="frozen_classifier"):
        replace(run, frozen_classifier="forest")


def test_noise_hides_what_only_one_modality_has():
    """A direction that is small in texts and not in audio tells texts apart perfectly, and audio not at all."""
    from sonolex.train.probing import _chosen

    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, 2, 600)
    shared_ND = np.where(labels_N[:, None] == 1, 0.6, -0.6) + rng.normal(0, 1.0, (600, 12))
    text_ND = np.concatenate([shared_ND, np.where(labels_N == 1, 0.1, -0.1)[:, None]], 1)
    audio_ND = np.concatenate([shared_ND, 3 * rng.normal(size=(600, 1))], 1)
    right = {}
    for name in ("linear", "noisy"):
        classifier, _ = _chosen(name, text_ND, labels_N.astype(str), np.arange(600))
        right[name] = (classifier.predict(audio_ND) == labels_N.astype(str)).mean()
    assert right["linear"] < 0.6 and right["noisy"] > 0.85
