from __future__ import annotations

import numpy as np
import soundfile

from sonolex.data.manifest import Manifest
from sonolex.protocols.base import PARTS, Fold, Protocol
from sonolex.scores import retrieval
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.regression import RegressionConfig
from sonolex.tasks.retrieval import RetrievalConfig
from sonolex.tasks.tagging import TaggingConfig
from sonolex.tasks.verification import VerificationConfig
from sonolex.train.floors import _cache_key, clip_statistics, floors_of_fold


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
    recalls = retrieval.SCORER.score(fold.report.column("pitch"), floors["word"]["mfcc_svm"])
    assert recalls["audio_to_text_recall_at_1"] == 1
    assert ((floors["tags"]["mfcc_svm"][:, 1] > 0.5) == np.array(pitch)).all()
    assert np.ptp(floors["tags"]["majority"], axis=0).max() == 0
    again = floors_of_fold(protocol, fold, "f" * 12)
    assert all(np.array_equal(again[t][f], v) for t, fs in floors.items() for f, v in fs.items())


def test_floors_of_other_audio_are_not_those_in_the_cache(corpus, tmp_path):
    """Two projects with the same table of labels had one fingerprint, and so 0.625 was shown for pure noise."""
    task = ClassificationConfig("pitch", classes=("low", "high"), label="pitch")
    protocol = Protocol("floors-key", "x", split, (task,), "accuracy")
    noise = tmp_path / "audio"
    noise.mkdir()
    rng = np.random.default_rng(0)
    for clip in corpus:
        soundfile.write(noise / f"{clip.id}.wav", rng.normal(size=4000) * 0.1, 8000)
    other = Manifest(corpus.table, root=tmp_path)
    (tones,), (noises,) = protocol.folds(corpus), protocol.folds(other)
    pitch = [("low", "high").index(p) for p in tones.report.column("pitch")]
    answers = [floors_of_fold(protocol, f, "e" * 12)["pitch"]["log_mel_svm"].argmax(1) for f in (tones, noises)]
    assert (answers[0] == pitch).all() and (answers[1] != pitch).any()

    def digested(fold):
        return Fold("only", *(fold.part(p).with_column("audio_digest", ["d"] * len(fold.part(p))) for p in PARTS))

    assert len({_cache_key(protocol, f) for f in (tones, noises, digested(tones), digested(noises))}) == 3
    relabelled = Fold(
        "only", tones.train.with_column("pitch", ["low"] * len(tones.train)), tones.selection, tones.report
    )
    assert _cache_key(protocol, relabelled) != _cache_key(protocol, tones)


def test_statistics_do_not_depend_on_the_order_of_clips(corpus):
    forward, backward = clip_statistics(corpus.take(range(6))), clip_statistics(corpus.take(range(5, -1, -1)))
    assert {n: v.shape for n, v in forward.items()} == {"mfcc": (6, 80), "log_mel": (6, 120)}
    assert all(np.array_equal(v[::-1], backward[n]) for n, v in forward.items())
