from __future__ import annotations

from sonolex.data.corpora import tonewords, tonewords_and_emodb
from sonolex.protocols.base import find_protocol


def test_emodb_and_tonewords_share_their_tones(shared_data):
    both = tonewords_and_emodb.prepare(shared_data / "emodb4", size="tiny")
    assert set(both.where(corpus="emodb").column("tone")) == set(tonewords.TONES)
    (fold,) = find_protocol("tonewords_de_to_emodb").folds(both)
    assert set(fold.train.column("language")) == {"de"} and len(fold.report) == 339
    (fold,) = find_protocol("emodb_to_tonewords_en").folds(both)
    assert len(set(fold.train.column("speaker"))) == 8 and set(fold.report.column("corpus")) == {"tonewords"}
