from __future__ import annotations

import pytest

from sonolex.data.corpora import espeak_digits, fsdd
from sonolex.data.manifest import read_manifest


def test_every_voice_says_every_digit_in_two_english_and_three_foreign_accents(tmp_path, monkeypatch):
    pytest.importorskip("espeakng_loader")
    assert len(espeak_digits.speakers()) == espeak_digits.NUM_VARIANTS == 72
    monkeypatch.setattr(espeak_digits, "NUM_VARIANTS", 2)
    espeak_digits._speak_corpus(0, tmp_path / "espeak-digits-v2-0")
    corpus = espeak_digits.prepare(tmp_path)  # the spoken corpus is read back
    assert len(corpus) == 2 * 5 * 10 and set(corpus.column("speaker")) == set(espeak_digits.speakers())
    assert all(corpus.column("digit").count(d) == 10 for d in fsdd.DIGITS) and corpus.column("text") == corpus.column(
        "digit"
    )
    assert set(corpus.column("split")) == {"train"} and corpus.with_durations().durations_s.min() > 0.1
    accents = {i.split("_")[1] for i in corpus.column("id")}
    assert len(accents & set(espeak_digits.RESPELT)) >= 3 and accents - set(espeak_digits.RESPELT)
    assert read_manifest(tmp_path / "espeak-digits-v2-0").column("id") == corpus.column("id")
