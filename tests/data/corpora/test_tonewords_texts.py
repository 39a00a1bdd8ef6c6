from __future__ import annotations

from collections import Counter

import pytest

from sonolex.data.corpora import tonewords, tonewords_texts
from sonolex.data.manifest import manifest_from_rows


def test_texts_are_the_same_every_time_and_sentences_of_tonewords(words):
    texts = tonewords_texts.prepare(count=3000)
    assert texts.column("text") == tonewords_texts.prepare(count=3000).column("text")
    assert Counter(texts.column("sentiment")) == dict.fromkeys(tonewords.SENTIMENTS, 1000)
    spoken = words.column("text")[0].split()
    assert any(len(set(spoken) & set(t.split())) >= len(spoken) - 2 for t in texts.column("text"))
    assert len(set(tonewords_texts.prepare(count=10, language="de").column("text"))) == 10


def test_texts_that_nobody_spoke_can_leave_out_what_unseen_voices_say(monkeypatch):
    likely = tonewords_texts.prepare(count=3000).column("text")
    spoken = [{"text": likely[0], "split": "test"}, {"text": likely[1], "split": "validation"}]
    monkeypatch.setattr(tonewords, "prepare", lambda **options: manifest_from_rows(spoken))
    apart = tonewords_texts.prepare(count=3000, apart_from="small")
    assert len(apart) == 3000 and apart.column("sentiment") == tonewords_texts.prepare(count=3000).column("sentiment")
    assert not set(likely[:2]) & set(apart.column("text"))


def test_texts_know_their_languages():
    with pytest.raises(ValueError, match="`language` must be one of"):
        tonewords_texts.prepare(language="xx")
