from __future__ import annotations

import numpy as np

from sonolex.scores import regression


def test_numbers_are_measured_in_their_unit():
    options = {"metric_names": ["mae", "ccc"]}
    values = regression.SCORER.score([1, "3", None], np.array([[1.5], [2.0], [9.0]]), options)
    # Means 2 and 1.75, variances 1 and 1/16, covariance 1/4: 2 · 1/4 / (1 + 1/16 + 1/16) = 4/9.
    assert values["mae"] == 0.75 and round(values["ccc"], 6) == round(4 / 9, 6)
    assert regression.SCORER.wrong_labels(["3", 1, True], options) == ["3", True]
