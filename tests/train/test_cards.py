"""The model card of a trained model: data, classes, split, scores with intervals, limits, and no licence of ours."""

from __future__ import annotations

import re

import pytest

import sonolex
from sonolex.train.cards import NO_LICENCE, with_licence
from sonolex.train.loop import train
from sonolex.train.run import Budget
from tests.train.helpers import HEIGHT, MOOD, PITCH, small_run


@pytest.fixture(scope="module")
def run_folder(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards")
    budget = Budget(epochs=1, batch_s=8, batch_clips=8)
    train(small_run(corpus.root, tasks=(PITCH, MOOD, HEIGHT), budget=budget), folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def card(run_folder) -> str:
    return (run_folder / "model" / "README.md").read_text(encoding="utf-8")


def test_the_card_gives_no_licence_of_its_own(card):
    assert not re.search(r"^license:", card, re.MULTILINE) and "apache" not in card.lower()
    assert NO_LICENCE in card


def test_the_card_states_data_classes_split_scores_and_limits(card, run_folder):
    import json

    assert "| train | 32 |" in card and "| selection | 8 |" in card and "| report | 8 |" in card
    assert "| low | 16 | 4 | 4 |" in card and "- **mood** (classification): good, bad" in card
    assert "Trained on audio and text." in card
    results = json.loads((run_folder / "results.json").read_text())
    assert f"| pitch | accuracy | {results['scores']['pitch']['accuracy']:.3f} |" in card
    assert "none: too few" in card  # the report part has one speaker: an interval over it would be a lie
    assert "The report part has one speaker only" in card and "Languages of the clips: not stated" in card


def test_an_interval_draws_whole_speakers(corpus):
    import numpy as np

    from sonolex.tasks.base import build_task
    from sonolex.train.cards import _interval

    task = build_task(PITCH, 4)
    labels = ["low", "high"] * 50
    scores = np.eye(2)[[0, 1] * 45 + [1, 0] * 5]  # the last ten clips are wrong
    clips = _interval(task, "balanced_accuracy", labels, scores, None)
    speakers = _interval(task, "balanced_accuracy", labels, scores, [f"s{i // 10}" for i in range(100)])

    def width(text: str) -> float:
        low, high = map(float, text.split(" to "))
        assert low < 0.9 < high
        return high - low

    assert width(speakers) > 1.3 * width(clips)
    assert _interval(task, "accuracy", labels, scores, None) == ""


def test_a_copy_keeps_the_card_and_names_a_licence_that_was_given(run_folder, card, tmp_path):
    model = sonolex.load(str(run_folder))
    model.save(tmp_path / "copy")
    assert (tmp_path / "copy" / "README.md").read_text(encoding="utf-8") == card
    model.save(tmp_path / "licensed", licence="cc-by-4.0")
    licensed = (tmp_path / "licensed" / "README.md").read_text(encoding="utf-8")
    assert licensed.startswith("---\nlicense: cc-by-4.0\n") and NO_LICENCE not in licensed
    again = with_licence(licensed, "other")
    assert again.count("license:") == 1 and again.startswith("---\nlicense: other\n")
    with pytest.raises(ValueError, match="`licence` must be an identifier"):
        model.save(tmp_path / "wrong", licence="a\nb")


def test_what_the_model_was_trained_to_read_is_saved_with_it(run_folder):
    model = sonolex.load(str(run_folder))
    assert model.modalities == ("audio", "text")


def test_long_recordings_are_cut_like_the_longest_clip_of_the_training(run_folder, corpus):
    longest_s = max(corpus.where(split="train").durations_s)
    windows = sonolex.load(str(run_folder)).windows("window")
    assert windows is not None and windows.window_s == pytest.approx(longest_s, abs=1e-3) and longest_s < 2
