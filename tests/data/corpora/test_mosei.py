from __future__ import annotations

import pytest

from sonolex.data.corpora import mosei
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import text, wav


def make_mosei(root):
    """Two segments of five videos, one of them without text, one video in no fold, and a label without audio."""
    labels = [",".join(mosei.COLUMNS)]
    for number, fold in enumerate(("train", "train", "validation", "test", "")):
        video = f"video{number}"
        wav(root / "Audio" / "WAV_16000" / f"{video}.wav", seconds=2.0)
        lines = [f"{video}___0___0.0___0.9___it's {video}, ___ well", f"{video}___1___1.0___1.8___", "broken line"]
        text(root / "Transcript" / "Segmented" / "Combined" / f"{video}.txt", lines)
        labels += [f"{video},{s},{fold},{v},0,0,0,0,0,0" for s, v in ((0, -1.333), (1, 2.0))]
    labels[1] = labels[1].replace(",0,0,0,0,0,0", ",0.333,0,0,0,0,3")
    labels.append("gone,0,train,1.0,0,0,0,0,0,0")
    text(root / "labels.csv", labels)


def test_mosei_and_its_protocol(tmp_path):
    make_mosei(tmp_path)
    manifest = mosei.prepare(tmp_path, strict=False)
    assert len(manifest) == 10 and manifest[0].text == "it's video0, ___ well" and manifest[1].text is None
    assert manifest[0].offset_s == 0.0 and manifest[1].duration_s == pytest.approx(0.8)
    (fold,) = find_protocol("mosei_sentiment").folds(manifest)
    assert (len(fold.train), len(fold.selection), len(fold.report)) == (4, 2, 2)
    assert set(manifest.column("emotions")) == {"none", "happy;fear"}
    (fold,) = find_protocol("mosei_emotion").folds(manifest)
    assert len(fold.report) == 2
    with pytest.raises(ValueError, match=r"gone, segment 0: audio missing[\s\S]*train: expected 16327, found 4"):
        mosei.prepare(tmp_path)
