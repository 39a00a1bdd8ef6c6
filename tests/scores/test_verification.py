from __future__ import annotations

import numpy as np

from sonolex import eer
from sonolex.scores import verification


def test_verification_reports_the_sampled_eer_beside_the_exact_one_from_four_speakers_on():
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    three, four = np.arange(40) % 3, np.arange(40) % 4
    assert set(verification.SCORER.score(three, vectors)) == {"eer"}
    both = verification.SCORER.score(four, vectors)
    assert both["eer"] == eer.eer(*eer.all_pairs(four, vectors))
    assert both["eer_ge2e_sampled"] == eer.eer_ge2e_sampled({str(k): vectors[four == k] for k in range(4)})
