"""Scorers read raw labels; what they compute with is tested in test_metrics and tests/tasks."""

from __future__ import annotations

import numpy as np
import pytest

from sonolex import eer, scoring
from sonolex.configs import module_names
from sonolex.tasks.base import task_type


def test_every_task_that_has_scores_names_its_scorer():
    kinds = {name: task_type(name).scorer for name in module_names("tasks")}
    assert set(kinds.values()) - {""} == set(scoring.SCORERS)
    assert [name for name, scorer in kinds.items() if not scorer] == ["pretraining"]


def test_unknown_labels_are_left_out_and_unknown_names_refused():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    options = {"classes": ["1", "2"], "metric_names": ["accuracy"]}
    assert scoring.score("classification", [1, None, 2.0], scores, options) == {"accuracy": 0.5}
    assert scoring.score("classification", [None] * 3, scores, options) == {}
    with pytest.raises(ValueError, match="some are 7"):
        scoring.score("classification", [7, 1, 2], scores, options)
    with pytest.raises(ValueError, match="scorer"):
        scoring.score("ranking", [1], scores)


def test_ranking_metrics_of_one_class_per_clip():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    options = {"classes": ["a", "b"], "metric_names": ["accuracy", "map", "mean_roc_area"]}
    found = scoring.score("classification", ["a", "a", "b", "b"], scores, options)
    assert found == {"accuracy": 0.5, "map": 1.0, "mean_roc_area": 1.0}  # well ranked, badly placed threshold


def test_verification_reports_the_sampled_eer_beside_the_exact_one_from_four_speakers_on():
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    three, four = np.arange(40) % 3, np.arange(40) % 4
    assert set(scoring.verification(three, vectors)) == {"eer"}
    both = scoring.verification(four, vectors)
    assert both["eer"] == eer.eer(*eer.all_pairs(four, vectors))
    assert both["eer_ge2e_sampled"] == eer.eer_ge2e_sampled({str(k): vectors[four == k] for k in range(4)})


def test_retrieval_by_hand():
    audio = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    text = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = scoring.score("retrieval", ["dog", "rain", "dog"], np.concatenate([audio, text], 1))
    # Texts: dog (1, 0), rain (0, 1). The third recording is nearer to rain, so two of three find their text.
    assert found["audio_to_text_recall_at_1"] == pytest.approx(2 / 3)
    assert found["text_to_audio_recall_at_1"] == 1.0 and found["audio_to_text_recall_at_5"] == 1.0
    constant = scoring.score("retrieval", ["dog", "rain", "dog"], np.ones((3, 4)))
    assert constant["audio_to_text_recall_at_1"] == 0.0
    without = np.concatenate([audio, np.zeros((3, 2))], 1)
    assert scoring.score("retrieval", ["dog", "rain", "dog"], without) == {}


def test_yes_or_no_metrics_say_how_they_were_decided():
    labels = ["a", "a;b", "none", "b"]
    scores = np.array([[0.4, 0.1], [0.45, 0.3], [0.2, 0.05], [0.1, 0.2]])
    options = {"classes": ["a", "b"], "metric_names": ["mean_binary_accuracy", "mean_binary_f1"]}
    plain = scoring.score("tagging", labels, scores, options)
    assert plain["mean_binary_accuracy@0.5"] == 0.5 and plain["mean_binary_f1@0.5"] == 0.0
    assert plain["mean_binary_accuracy@argmax"] == pytest.approx(6 / 8)
    assert "mean_binary_accuracy@tuned" not in plain
    tuned = scoring.score("tagging", labels, scores, options | {"thresholds": [0.3, 0.15]})
    assert tuned["mean_binary_accuracy@tuned"] == 1.0 and tuned["mean_binary_f1@tuned"] == 1.0


def voices(num_speakers: int = 10, num_clips: int = 12, seed: int = 0):
    """Return vectors that know the speaker and nothing else, with moods of which every speaker has mostly one."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(num_speakers), num_clips)
    moods = np.where(rng.random(len(speakers)) < 0.9, speakers % 2, 1 - speakers % 2)
    vectors = rng.normal(size=(num_speakers, 8))[speakers] * 3 + rng.normal(size=(len(speakers), 8)) * 0.1
    return vectors, [("sad", "glad")[m] for m in moods], [f"speaker {s}" for s in speakers]


def test_a_probe_divides_clips_by_speaker_so_that_a_known_voice_tells_nothing():
    vectors, moods, speakers = voices()
    by_clip = scoring.score("probe", moods, vectors)
    by_speaker = scoring.score("probe", moods, vectors, groups=speakers)
    for probe in ("knn_accuracy", "linear_accuracy"):
        assert by_clip[probe] > 0.75 and by_speaker[probe] < 0.6
    assert scoring.score("probe", moods, vectors, {"across": "clips"}, groups=speakers) == by_clip
    alone = [f"clip {i}" for i in range(len(moods))]
    assert scoring.score("probe", moods, vectors, groups=alone) == by_clip
    assert scoring.score("probe", moods, vectors, groups=[None] * len(moods)) == by_clip


def test_the_folds_of_a_probe_share_no_group_and_every_training_has_every_class():
    rng = np.random.default_rng(1)
    for _ in range(50):
        groups_B = rng.integers(0, rng.integers(3, 9), 60)
        names_B = np.where(groups_B < 2, rng.integers(0, 3, 60), rng.integers(0, 2, 60)).astype(str)  # "2": two groups
        names_B[np.flatnonzero(groups_B == 0)[:1]] = names_B[np.flatnonzero(groups_B == 1)[:1]] = "2"
        folds = scoring.separate_folds(names_B, groups_B, 5)
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(60))
        for train, test in folds:
            assert not set(groups_B[train]) & set(groups_B[test]) and set(names_B[train]) == set(names_B)


def test_a_class_of_one_speaker_cannot_be_probed_across_speakers():
    vectors, _, speakers = voices(4)
    accents = ["north" if s == "speaker 0" else "south" for s in speakers]
    with pytest.raises(ValueError, match=r"2 groups .* of every class, but 'north' has 1.*across clips"):
        scoring.score("probe", accents, vectors, groups=speakers)
    assert scoring.score("probe", accents, vectors, {"across": "clips"}, groups=speakers)["knn_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("scorer", "options", "message"),
    [
        ("classification", {"classes": ["a", "b"]}, "must have metric_names"),
        ("classification", {"metric_names": ["accuracy"]}, "must have classes"),
        ("classification", {"classes": ["a", "a"], "metric_names": []}, "`classes`"),
        ("classification", {"classes": "ab", "metric_names": []}, "`classes`"),
        ("classification", {"classes": ["a", 1], "metric_names": []}, "`classes`"),
        ("classification", {"classes": ["a", "b"], "metric_names": ["__class__"]}, "`metric_names`"),
        ("classification", {"classes": ["a", "b"], "metric_names": [["accuracy"]]}, "`metric_names`"),
        ("classification", {"classes": ["a", "b"], "metric_names": [], "open_vocabulary": 1}, "`open_vocabulary`"),
        ("classification", {"classes": ["a", "b"], "metric_names": [], "labels": []}, "options.*must be some of"),
        ("tagging", {"classes": ["a"], "thresholds": ["0.5"]}, "`thresholds`"),
        ("tagging", {"classes": ["a"], "thresholds": [float("nan")]}, "`thresholds`"),
        ("regression", {"metric_names": ["mae", "mae"]}, "`metric_names`"),
        ("verification", {"num_folds": 3}, "options"),
        ("probe", {"num_folds": 10**9}, "`num_folds`"),
        ("probe", {"num_folds": True}, "`num_folds`"),
        ("probe", {"num_neighbours": 0}, "`num_neighbours`"),
        ("probe", {"across": "labels"}, "`across`"),
        ("retrieval", {"\x1b": 1}, "options"),
    ],
)
def test_hostile_options_are_refused(scorer, options, message):
    with pytest.raises(ValueError, match=message) as e:
        scoring.score(scorer, ["a", "b"], np.ones((2, 2)), options)
    assert "\n" not in str(e.value)


def test_many_classes_take_memory_by_clips_and_not_by_their_square():
    classes = [str(i) for i in range(200_000)]  # their square: 320 GB
    scores = np.zeros((2, len(classes)), np.float32)
    scores[0, 5] = scores[1, 6] = 1
    options = {"classes": classes, "metric_names": ["accuracy", "map"]}
    assert scoring.score("classification", ["5", "7"], scores, options)["accuracy"] == 0.5
    tags = scoring.score("tagging", ["5", "6"], scores, {"classes": classes, "metric_names": ["mean_binary_accuracy"]})
    assert tags["mean_binary_accuracy@argmax"] == 1.0
