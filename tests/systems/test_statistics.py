"""Statistics and averages as systems: they answer as scikit-learn does, and what is saved answers the same."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.svm import SVC

import sonolex
from sonolex.doors.fit.contest import SmallCandidate
from sonolex.doors.fit.features import Features, standardised, standards
from sonolex.doors.fit.question import ClassQuestion, question_of
from sonolex.doors.fit.saving import Builder, handing_over
from sonolex.doors.fit.small import ABSENT, Small, fitted
from sonolex.processors.statistics import StatisticsProcessorConfig, frequent_terms
from sonolex.systems.average import Average, AverageConfig, AverageProcessorConfig, Member
from sonolex.systems.statistics import StatisticsConfig, ranked_by_votes
from sonolex.tasks.classification import ClassificationConfig

SETS = ("mfcc", "functionals")


def features(num_clips, seed=0):
    rng = np.random.default_rng(seed)
    audio = rng.normal(size=(num_clips, 374)).astype(np.float32)
    counts = scipy.sparse.csr_matrix((num_clips, 0))
    return Features(audio, np.ones(num_clips, bool), (), counts)


def question(classes, num_clips, seed=1):
    names = [f"c{i}" for i in range(classes)]
    labels = tuple(np.random.default_rng(seed).permutation([names[i % classes] for i in range(num_clips)]).tolist())
    return ClassQuestion(ClassificationConfig("mood", label="mood", classes=tuple(names)), labels)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize(("method", "kernel"), [("svm", "rbf"), ("linear_svm", "linear")])
def test_an_svm_answers_as_scikit_learn_does(num_classes, method, kernel):
    made, asked, rows = features(120), question(num_classes, 120), np.arange(90)
    found = fitted(Small("s", method, SETS), 1.0, made, asked, rows, seed=0)
    columns = made.columns(SETS)
    x = standardised(
        made.audio_NF[:, columns], made.heard_N, *standards(made.audio_NF[:90][:, columns], made.heard_N[:90])
    )
    svc = SVC(kernel=kernel, gamma=1 / x.shape[1], class_weight="balanced").fit(x[:90], asked.targets[:90])
    expected = svc.decision_function(x[90:])
    expected = np.stack([-expected, expected], 1) / 2 if num_classes == 2 else expected
    assert np.abs(found.outputs(made, np.arange(90, 120)) - expected).max() < 1e-5
    assert np.array_equal(found.outputs(made, np.arange(90)).argmax(1), expected_classes(svc, x[:90], num_classes))


def expected_classes(svc, x, num_classes):
    found = svc.decision_function(x)
    return (found > 0).astype(int) if num_classes == 2 else found.argmax(1)


@pytest.mark.parametrize("method", ["svm", "linear_svm", "logistic", "constant"])
@pytest.mark.parametrize("missing", [(2,), (0, 3)])
def test_a_class_that_no_training_clip_has_is_never_answered_and_changes_no_other(method, missing):
    made, asked = features(80), question(4, 80)
    rows = np.flatnonzero(~np.isin(asked.targets, missing))
    outputs = fitted(Small("s", method, SETS), 1.0, made, asked, rows, seed=0).outputs(made, np.arange(80))
    assert (
        not np.isin(outputs.argmax(1), missing).any() and (asked.shares(outputs * 0.05)[:, list(missing)] < 1e-9).all()
    )
    assert np.isfinite(outputs).all() and ABSENT < 0


def test_votes_come_before_margins():
    decisions = torch.tensor([[0.1, 0.1, 5.0], [-3.0, 2.0, -0.5]])  # pairs 01, 02, 12
    ranked = ranked_by_votes(decisions, 3)
    assert ranked[0].argmax() == 0 and ranked[0].round().tolist() == [2, 1, 0]
    assert ranked[1].sum() == pytest.approx(3, abs=1)


def test_the_saved_model_answers_audio_as_the_contest_did(corpus, tmp_path):
    from sonolex.data.parts import divide
    from sonolex.doors.fit.blocks import blocks_of
    from sonolex.doors.fit.features import measured
    from sonolex.train.checkpoint import save_model

    asked = question_of(corpus, "classification", {"name": "pitch", "label": "pitch", "classes": ["low", "high"]})
    divided = divide(corpus, strata=asked.strata, seed=0)
    made, blocks = measured(corpus, words=True), blocks_of(divided, asked, seed=0)
    for small in (
        Small("s", "svm", SETS),
        Small("w", "logistic", SETS, words=True),
        Small("t", "logistic", words=True),
    ):
        candidate = SmallCandidate(small, made, asked, blocks, seed=0)
        winner = Builder(asked, made, blocks, {}).winner(candidate)
        save_model(tmp_path / small.name, winner.model, winner.processor, provenance={})
        model = sonolex.load(str(tmp_path / small.name))
        clips = [corpus[i] for i in blocks.rows[0]]
        given = {
            "audio": [c.audio for c in clips] if small.sets else None,
            "text": [c.text for c in clips] if small.words else None,
        }
        answers = model.predict(**given)
        found = [[a["pitch"]["scores"][c] for c in ("low", "high")] for a in answers]
        assert np.abs(np.array(found) - candidate.reported(0)).max() < 1e-4
        assert sorted(p.suffix for p in (tmp_path / small.name).iterdir()) == [
            ".json",
            ".json",
            ".json",
            ".md",
            ".safetensors",
        ]


def test_an_average_answers_the_mean_of_its_members():
    torch.manual_seed(0)
    members = [sonolex_system(StatisticsConfig(num_audio=6, num_outputs=3)) for _ in range(2)]
    asked = question(3, 9)
    average = Average.of(members, [handing_over(m, asked) for m in members], of="classes")
    outputs = [torch.randn(5, 3) for _ in members]
    shares = average._averaged(*outputs).softmax(-1)
    assert torch.allclose(shares, (outputs[0].softmax(-1) + outputs[1].softmax(-1)) / 2, atol=1e-6)
    with pytest.raises(ValueError, match="single model"):
        AverageConfig((Member("average"), Member("statistics")))
    with pytest.raises(ValueError, match="`rate_hz` must be that of both members"):
        AverageProcessorConfig(rate_hz=8000)


def sonolex_system(config):
    from sonolex.systems.statistics import Statistics

    return Statistics(config).eval()


def test_terms_are_the_most_frequent_ones_and_unknown_words_change_nothing():
    terms = frequent_terms(["so it is", "so it was", "and so on"], most=3, fewest_clips=2)
    assert terms == ["l  s", "l  so", "l  so "]
    assert frequent_terms(["one", "two"], most=10, fewest_clips=2) == []
    assert frequent_terms(["one", "one"], most=0, fewest_clips=1) == []


def test_impossible_configs_are_refused_in_words():
    with pytest.raises(ValueError, match="`sets` must be different ones"):
        StatisticsProcessorConfig(sets=("mfcc", "mfcc"))
    with pytest.raises(ValueError, match="`rate_hz` must be 16000"):
        StatisticsProcessorConfig(rate_hz=8000)
    with pytest.raises(ValueError, match="`num_support` and `gamma`"):
        StatisticsConfig(kernel="rbf")
