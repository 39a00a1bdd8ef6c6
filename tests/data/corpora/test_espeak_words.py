from __future__ import annotations

from collections import Counter

import pytest

from sonolex.data.corpora import espeak_words, tonewords
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import digests


def test_single_words_are_the_same_every_time_and_by_tonewords_voices(tmp_path):
    pytest.importorskip("espeakng_loader")
    found = espeak_words.prepare(tmp_path / "a", size="tiny")
    assert digests(found) == digests(espeak_words.prepare(tmp_path / "b", size="tiny"))
    assert len(found) == 8 * (3 * 4 + 4) and found.column("text") == found.column("word")
    assert set(found.where(split="test").column("speaker")) <= {v.replace("+", "_") for v in tonewords.voices("test")}
    assert {s for s, k in zip(found.column("sentiment"), found.column("keyword"), strict=True) if k == "yes"} == {None}
    (fold,) = find_protocol("espeak_words_sentiment").folds(found)
    assert Counter(fold.report.column("sentiment")) == dict.fromkeys(tonewords.SENTIMENTS, 8)
    (fold,) = find_protocol("espeak_words_unseen_voices").folds(found)
    assert len(fold.report) == 32
    (fold,) = find_protocol("espeak_keywords_unseen_voices").folds(found)
    assert len(fold.report) == 8 and set(fold.report.column("word")) <= set(tonewords.KEYWORDS)
    with pytest.raises(ValueError, match="tiny"):
        espeak_words.prepare(size="huge")
