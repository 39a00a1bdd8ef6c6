from __future__ import annotations

import pytest

from sonolex.data.corpora import mosei
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import make_mosei


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
