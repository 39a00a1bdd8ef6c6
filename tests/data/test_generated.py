"""The corpora that are made on the user's machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sonolex.data.corpora import espeak_words, sound_scenes, tonewords, tonewords_and_emodb, tonewords_texts
from sonolex.data.corpora._tonewords_lexicons import LEXICONS
from sonolex.data.manifest import manifest_from_rows
from sonolex.protocols.base import find_protocol


def digests(manifest) -> list[str]:
    return [hashlib.sha256(Path(str(c.audio)).read_bytes()).hexdigest() for c in manifest]


@pytest.fixture(scope="module")
def words():
    pytest.importorskip("espeakng_loader")
    return tonewords.prepare(size="tiny")


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


def test_texts_are_the_same_every_time_and_sentences_of_tonewords(words):
    found = tonewords_texts.prepare(count=3000)
    assert found.column("text") == tonewords_texts.prepare(count=3000).column("text")
    assert Counter(found.column("sentiment")) == dict.fromkeys(tonewords.SENTIMENTS, 1000)
    spoken = words.column("text")[0].split()
    assert any(len(set(spoken) & set(t.split())) >= len(spoken) - 2 for t in found.column("text"))
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


def test_emodb_and_tonewords_share_their_tones(shared_data):
    both = tonewords_and_emodb.prepare(shared_data / "emodb4", size="tiny")
    assert set(both.where(corpus="emodb").column("tone")) == set(tonewords.TONES)
    (fold,) = find_protocol("tonewords_de_to_emodb").folds(both)
    assert set(fold.train.column("language")) == {"de"} and len(fold.report) == 339
    (fold,) = find_protocol("emodb_to_tonewords_en").folds(both)
    assert len(set(fold.train.column("speaker"))) == 8 and set(fold.report.column("corpus")) == {"tonewords"}


def test_unknown_sizes_are_refused():
    with pytest.raises(ValueError, match="tiny"):
        tonewords.prepare(size="huge")
    with pytest.raises(ValueError, match="tiny"):
        sound_scenes.prepare(size="huge")


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


def test_sound_scenes_are_the_same_every_time_and_their_questions_balanced(tmp_path):
    scenes = sound_scenes.prepare(tmp_path / "a", size="tiny")
    assert digests(scenes) == digests(sound_scenes.prepare(tmp_path / "b", size="tiny"))
    assert len(scenes) == 180 and set(scenes.column("split")) == set(sound_scenes.SPLITS)
    assert Counter(scenes.where(question="present").column("present")) == {"yes": 30, "no": 30}
    assert set(scenes.where(question="last").column("last")) == set(sound_scenes.EVENTS)
    assert {str(n) for n in scenes.where(question="count").column("count")} == set(sound_scenes.COUNTS)
    assert set(scenes.where(question="count").column("last")) == {None}
    by_split = {s: set(scenes.where(split=s).column("source_id")) for s in sound_scenes.SPLITS}
    assert not by_split["train"] & by_split["test"]


@pytest.mark.parametrize("event", sound_scenes.EVENTS)
def test_every_sound_is_finite_and_at_full_scale(event):
    wave = sound_scenes.sound(event, np.random.default_rng(0))
    assert np.isfinite(wave).all() and 0.8 < np.abs(wave).max() <= 1.0
