from __future__ import annotations

import numpy as np
import pytest

from sonolex.data.corpora import iemocap
from sonolex.protocols import iemocap4, iemocap4_excited
from tests.data.corpora.miniatures import make_iemocap


def test_iemocap_and_its_protocols(tmp_path):
    make_iemocap(tmp_path)
    manifest = iemocap.prepare(tmp_path, strict=False)
    assert len(manifest) == 60 and set(manifest.column("speaker")) == {f"{s}{g}" for s in range(1, 6) for g in "FM"}
    assert manifest.column("valence")[0] == 2.5
    plain, merged = iemocap4.PROTOCOL.folds(manifest), iemocap4_excited.PROTOCOL.folds(manifest)
    assert [len(f.report) for f in plain] == [6] * 5 and [len(f.report) for f in merged] == [8] * 5
    for fold in merged:
        assert len(fold.train) + len(fold.selection) + len(fold.report) == 40  # clips without text are left out
        assert len(set(fold.train.column("speaker"))) == 7
    assert iemocap4.PROTOCOL.fingerprint(manifest) != iemocap4_excited.PROTOCOL.fingerprint(manifest)
    (tmp_path / "Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_F000.wav").unlink()
    with pytest.raises(ValueError, match=r"Ses03F_impro01_F000[\s\S]*session 3, neutral: expected 320, found 1"):
        iemocap.prepare(tmp_path)


def test_iemocaps_expected_counts_are_the_published_fingerprints():
    per_session = np.array(list(iemocap.COUNTS.values()))
    assert per_session.sum(0).tolist() == [1085, 1023, 1151, 1031, 1241] and per_session.sum() == 5531
    assert per_session.sum() - sum(iemocap.COUNTS["excited"]) == 4490
