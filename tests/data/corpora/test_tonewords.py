from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sonolex.data.corpora import tonewords
from sonolex.data.corpora._tonewords_lexicons import LEXICONS
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import digests


def test_tonewords_is_the_same_every_time(words, tmp_path):
    again = tonewords.prepare(tmp_path, size="tiny")
    assert again.column("text") == words.column("text") and digests(again) == digests(words)
    assert digests(tonewords.prepare(tmp_path, size="tiny", seed=1)) != digests(words)


def test_voices_are_eighty_and_disjoint_between_splits():
    pytest.importorskip("espeakng_loader")
    voices = {split: tonewords.voices(split) for split in tonewords.NUM_VOICES}
    assert [len(v) for v in voices.values()] == [56, 8, 16]
    variants = [v.split("+")[1] for vs in voices.values() for v in vs]
    assert len(set(variants)) == 80


def test_sarcasm_says_nothing_about_tone_or_sentiment_alone(words):
    for column in ("tone", "sentiment"):
        for value in set(words.column(column)):
            counts = Counter(s for s in words.where(**{column: value}).column("sarcasm") if s)
            assert not counts or counts["yes"] == counts["no"], (column, value, counts)
    pairs = Counter(zip(words.column("tone"), words.column("sentiment"), strict=True))
    assert len(pairs) == 12  # independent: every tone meets every sentiment


def test_sarcasm_is_defined_where_neither_is_neutral():
    assert tonewords.sarcasm_of("happy", "negative") == "yes" == tonewords.sarcasm_of("sad", "positive")
    assert tonewords.sarcasm_of("happy", "positive") == "no" == tonewords.sarcasm_of("angry", "negative")
    assert tonewords.sarcasm_of("neutral", "positive") is None is tonewords.sarcasm_of("sad", "neutral")


def test_tone_is_prosody_within_the_clip():
    rng = np.random.default_rng(0)
    words = ["the", "hotel", "was", "very", "nice"]
    pitch = {
        tone: [
            float(x.split('pitch="')[1].split("%")[0]) for x in tonewords.ssml(words, tone, rng).split("<prosody ")[1:]
        ]
        for tone in tonewords.TONES
    }
    assert np.polyfit(range(5), pitch["happy"], 1)[0] > 10 and np.polyfit(range(5), pitch["sad"], 1)[0] < -5
    assert np.std(pitch["angry"]) > 30 and np.std(pitch["neutral"]) < 12


def test_unknown_voices_and_variants_are_refused_not_silently_replaced():
    pytest.importorskip("espeakng_loader")
    from sonolex.data import espeak

    with pytest.raises(ValueError, match="refused"):
        espeak.speak("hello", voice="en-gb")
    with pytest.raises(ValueError, match="variant"):
        espeak.speak("hello", voice="en-us+zzz")
    assert len(espeak.speak("hello", voice="en-us+f3")) > 1000


def test_tonewords_speaks_other_languages_with_the_same_tones_and_voices_of_the_same_splits(words, tmp_path):
    both = tonewords.prepare(tmp_path, size="tiny", languages=("de", "en"))
    german, english = both.where(language="de"), both.where(language="en")
    assert digests(english) == digests(words)  # another language beside it changes nothing
    assert german.column("tone") == english.column("tone") and german.column("sarcasm") == english.column("sarcasm")
    assert set(german.column("keyword")) <= set(tonewords.KEYWORDS) and not set(german.column("text")) & set(
        english.column("text")
    )
    for split in tonewords.NUM_VOICES:
        of = {x: [v.split("+")[1] for v in tonewords.voices(split, x)] for x in LEXICONS}
        assert sorted(of["de"]) == sorted(of["en"]) == sorted(of["es"])
    (fold,) = find_protocol("tonewords_tone_de_en").folds(both)
    assert [set(p.column("language")) for p in (fold.train, fold.selection, fold.report)] == [{"de"}, {"de"}, {"en"}]
    with pytest.raises(ValueError, match="`languages` must be of en, de, es, but is fr"):
        tonewords.prepare(tmp_path, size="tiny", languages=("en", "fr"))


def test_the_skewed_protocol_has_slues_shares_in_every_part(words):
    (fold,) = find_protocol("tonewords_sentiment_skewed").folds(words)
    (whole,) = find_protocol("tonewords_sentiment").folds(words)
    for name in ("train", "selection", "report"):
        counts = Counter(fold.part(name).column("sentiment"))
        assert counts["neutral"] == Counter(whole.part(name).column("sentiment"))["neutral"]
        assert counts["positive"] == round(counts["neutral"] * 22 / 74)
        assert counts["negative"] == round(counts["neutral"] * 4 / 74)


@pytest.mark.parametrize("language", LEXICONS)
def test_every_language_has_forty_words_of_each_sentiment_and_no_word_twice(language):
    lexicon = LEXICONS[language]
    words = lexicon.words
    assert {s: len(set(w)) for s, w in words.items()} == dict.fromkeys(tonewords.SENTIMENTS, 40)
    assert len({w for ws in words.values() for w in ws}) == 120
    assert all(t.count("{k}") == t.count("{a}") == t.count("{b}") == 1 for t in lexicon.templates)
    assert list(lexicon.keywords) == list(tonewords.KEYWORDS)


def test_unknown_sizes_are_refused():
    with pytest.raises(ValueError, match="tiny"):
        tonewords.prepare(size="huge")
