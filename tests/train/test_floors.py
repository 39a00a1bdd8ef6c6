from __future__ import annotations

import numpy as np

from sonolex import scoring
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.regression import RegressionConfig
from sonolex.tasks.retrieval import RetrievalConfig
from sonolex.tasks.tagging import TaggingConfig
from sonolex.tasks.verification import VerificationConfig
from sonolex.train.floors import clip_statistics, floors_of_fold


def split(manifest):
    return [Fold("only", *(manifest.where(split=s) for s in ("train", "validation", "test")))]


def test_floors_are_fitted_on_training_clips_and_cached(corpus):
    tasks = (
        ClassificationConfig("pitch", label="pitch", classes=("low", "high")),
        ClassificationConfig("mood", label="mood", classes=("good", "bad")),
        RegressionConfig("height", label="height"),
        VerificationConfig("speaker"),
        RetrievalConfig("word", label="pitch"),
        TaggingConfig("tags", label="pitch", classes=("low", "high")),
    )
    protocol = Protocol("floors-test", "x", split, tasks, "accuracy")
    (fold,) = protocol.folds(corpus)
    floors = floors_of_fold(protocol, fold, "f" * 12)
    pitch = [tasks[0].classes.index(p) for p in fold.report.column("pitch")]
    for name in ("mfcc_svm", "log_mel_svm"):
        assert (floors["pitch"][name].argmax(1) == pitch).all()  # audible
    assert len(set(floors["pitch"]["majority"].argmax(1))) == 1
    assert (
        floors["mood"]["mfcc_svm"].argmax(1) == [tasks[1].classes.index(m) for m in fold.report.column("mood")]
    ).mean() < 1
    height = np.array(fold.report.column("height"))
    error = {name: np.abs(v[:, 0] - height).mean() for name, v in floors["height"].items()}
    assert error["mfcc_svm"] < error["median"]
    assert floors["speaker"]["mfcc_cosine"].shape[1] == 1 + floors["speaker"]["mfcc_cosine_level_removed"].shape[1]
    assert scoring.retrieval(fold.report.column("pitch"), floors["word"]["mfcc_svm"])["audio_to_text_recall_at_1"] == 1
    assert ((floors["tags"]["mfcc_svm"][:, 1] > 0.5) == np.array(pitch)).all()
    assert np.ptp(floors["tags"]["majority"], axis=0).max() == 0
    again = floors_of_fold(protocol, fold, "f" * 12)
    assert all(np.array_equal(again[t][f], v) for t, fs in floors.items() for f, v in fs.items())


def test_statistics_do_not_depend_on_the_order_of_clips(corpus):
    forward, backward = clip_statistics(corpus.take(range(6))), clip_statistics(corpus.take(range(5, -1, -1)))
    assert {n: v.shape for n, v in forward.items()} == {"mfcc": (6, 80), "log_mel": (6, 120)}
    assert all(np.array_equal(v[::-1], backward[n]) for n, v in forward.items())
