"""What every scorer does: finding, options, unknown labels."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from sonolex.configs import module_names
from sonolex.scores.base import find_scorer
from sonolex.tasks.base import task_type

SCORERS = module_names("scores")


@pytest.mark.parametrize("name", [*SCORERS, *module_names("tasks")])
def test_every_scorer_is_found_by_its_name_and_the_task_that_uses_it_names_it(name):
    if name in SCORERS:
        assert find_scorer(name).name == name
    if name in module_names("tasks") and (scorer := task_type(name).scorer) is not None:
        assert find_scorer(scorer.name) is scorer


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_has_tests_of_its_own(name):
    assert find_spec(f"tests.scores.test_{name}"), f"write tests/scores/test_{name}.py"


@pytest.mark.parametrize("name", SCORERS)
def test_clips_without_a_label_are_worth_nothing(name):
    scorer = find_scorer(name)
    complete = {"classes": ["a", "b"], "metric_names": []}
    options = {n: complete[n] for n in scorer.required}
    assert scorer.score([None, None], np.ones((2, 2)), options) == {}
    assert scorer.wrong_labels([], options) == []


@pytest.mark.parametrize("name", ["ranking", "base", "os.system", "tests.saved_runs", "", None, 3, ["verification"]])
def test_a_scorer_that_is_none_is_refused_and_no_code_runs(name):
    sys.modules.pop("tests.saved_runs", None)
    with pytest.raises(ValueError, match="`scorer` must be one of classification,"):
        find_scorer(name)
    assert "tests.saved_runs" not in sys.modules


def test_a_task_without_scores_has_no_scorer():
    with pytest.raises(ValueError, match="has none"):
        find_scorer("sonolex.tasks.pretraining", trust_code=True)


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
        ("tagging", {"classes": ["a", "b"], "thresholds": [0.5]}, "`thresholds` .*one for each class"),
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
        find_scorer(scorer).score(["a", "b"], np.ones((2, 2)), options)
    assert "\n" not in str(e.value)
