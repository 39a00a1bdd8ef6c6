from __future__ import annotations

import numpy as np
import pytest

from sonolex.scores import retrieval


def test_retrieval_by_hand():
    audio = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    text = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    recalls = retrieval.SCORER.score(["dog", "rain", "dog"], np.concatenate([audio, text], 1))
    # Texts: dog (1, 0), rain (0, 1). The third recording is nearer to rain, so two of three find their text.
    assert recalls["audio_to_text_recall_at_1"] == pytest.approx(2 / 3)
    assert recalls["text_to_audio_recall_at_1"] == 1.0 and recalls["audio_to_text_recall_at_5"] == 1.0
    constant = retrieval.SCORER.score(["dog", "rain", "dog"], np.ones((3, 4)))
    assert constant["audio_to_text_recall_at_1"] == 0.0
    without = np.concatenate([audio, np.zeros((3, 2))], 1)
    assert retrieval.SCORER.score(["dog", "rain", "dog"], without) == {}
