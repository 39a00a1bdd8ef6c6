from __future__ import annotations

import numpy as np

from sonolex.groups import separate_folds


def test_the_folds_of_a_probe_share_no_group_and_every_training_has_every_class():
    rng = np.random.default_rng(1)
    for _ in range(50):
        groups_B = rng.integers(0, rng.integers(3, 9), 60)
        names_B = np.where(groups_B < 2, rng.integers(0, 3, 60), rng.integers(0, 2, 60)).astype(str)  # "2": two groups
        names_B[np.flatnonzero(groups_B == 0)[:1]] = names_B[np.flatnonzero(groups_B == 1)[:1]] = "2"
        folds = separate_folds(names_B, groups_B, 5)
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(60))
        for train, test in folds:
            assert not set(groups_B[train]) & set(groups_B[test]) and set(names_B[train]) == set(names_B)
