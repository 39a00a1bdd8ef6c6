from __future__ import annotations

from collections import Counter

import pytest

from sonolex.data.corpora import clotho_aqa
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import text, wav


def clotho(root):
    for name in ("souffle_me.tallique.wav", 'Rain, "heavy".wav', "birds.wav"):
        wav(root / "audio_files" / name)
    text(
        root / "clotho_aqa_metadata.csv",
        [
            "file_name,keywords,sound_id",
            "souffle_me_tallique.wav,a;b,1234",
            "birds.wav,x,77",
            '"Rain, ""heavy"".wav",y,Not found',
        ],
    )
    heads = "file_name,QuestionText,answer,confidence"
    answers = [f"souffle_me_tallique.wav,Is it metal?,{a},yes" for a in ("yes", "Yes", "no")]
    answers += [f'"Rain, ""heavy"".wav","What falls, and hits?",{a},maybe' for a in ("rain", "rain", "water")]
    text(
        root / "clotho_aqa_train.csv",
        [heads, *answers, *(f"birds.wav,Which animal?,{a},yes" for a in ("bird", "crow", "dove"))],
    )
    text(root / "clotho_aqa_val.csv", [heads, "birds.wav,Is it loud?,no,yes"])
    text(root / "clotho_aqa_test.csv", [heads, "birds.wav,Is it quiet?,yes,yes", "gone.wav,Who sings?,bird,yes"])


def test_clotho_aqa_merges_annotators_by_a_stated_rule_and_finds_renamed_files(tmp_path, capsys):
    clotho(tmp_path)
    with pytest.raises(ValueError, match=r"gone\.wav is not in audio_files[\s\S]*train: expected 1174, found 3"):
        clotho_aqa.prepare(tmp_path)
    manifest = clotho_aqa.prepare(tmp_path, strict=False)
    assert "1 questions have no majority answer" in capsys.readouterr().out
    by_question = {c.text: c for c in manifest}
    metal, rain = by_question["Is it metal?"], by_question["What falls, and hits?"]
    assert metal.audio.endswith("souffle_me.tallique.wav") and metal.labels["binary"] == "yes"
    assert metal.labels["agreement"] == pytest.approx(2 / 3) and rain.labels["open"] == "rain"
    sources = dict(zip(manifest.column("text"), manifest.column("source_id"), strict=True))
    assert sources["Is it metal?"] == "1234" and sources["What falls, and hits?"] is None
    assert "Which animal?" not in by_question and rain.labels["binary"] is None
    each = clotho_aqa.prepare(tmp_path, merge="each", strict=False)
    assert Counter(each.column("open"))["crow"] == 1 and len(each) == 11
    unanimous = clotho_aqa.prepare(tmp_path, merge="unanimous", strict=False)
    assert sorted(unanimous.column("text")) == ["Is it loud?", "Is it quiet?"]
    with pytest.raises(ValueError, match="merge"):
        clotho_aqa.prepare(tmp_path, merge="loudest")
    (fold,) = find_protocol("clotho_aqa_open").split(manifest)
    assert fold.train.column("open") == ["rain"]
