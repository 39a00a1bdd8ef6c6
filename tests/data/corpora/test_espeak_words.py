from __future__ import annotations

from collections import Counter

import pytest

from sonolex.data.corpora import espeak_words, tonewords
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import digests


def test_single_words_are_the_same_every_time_and_by_tonewords_voices(tmp_path):
    pytest.importorskip("espeakng_loader")
    corpus = espeak_words.prepare(tmp_path / "a", size="tiny")
    assert digests(corpus) == digests(espeak_words.prepare(tmp_path / "b", size="tiny"))
    assert len(corpus) == 8 * (3 * 4 + 4) and corpus.column("text") == corpus.column("word")
    assert set(corpus.where(split="test").column("speaker")) <= {v.replace("+", "_") for v in tonewords.voices("test")}
    pairs = zip(corpus.column("sentiment"), corpus.column("keyword"), strict=True)
    assert {s for s, k in pairs if k == "yes"} == {None}
    (fold,) = find_protocol("espeak_words_sentiment").folds(corpus)
    assert Counter(fold.report.column("sentiment")) == dict.fromkeys(tonewords.SENTIMENTS, 8)
    (fold,) = find_protocol("espeak_words_unseen_voices").folds(corpus)
    assert len(fold.report) == 32
    (fold,) = find_protocol("espeak_keywords_unseen_voices").folds(corpus)
    assert len(fold.report) == 8 and set(fold.report.column("word")) <= set(tonewords.KEYWORDS)
    with pytest.raises(ValueError, match="tiny"):
        espeak_words.prepare(size="huge")
