from __future__ import annotations

from collections import Counter

import pytest

from sonolex.data.corpora import emodb
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import wav


def test_emodb(tmp_path):
    for name in ("03a01Fa", "16b10Wb", "09a02Lc", "strange"):
        wav(tmp_path / "wav" / f"{name}.wav")
    manifest = emodb.prepare(tmp_path, strict=False)
    assert Counter(manifest.column("emotion")) == {"happy": 1, "angry": 1, "bored": 1}
    assert dict(zip(manifest.column("id"), manifest.column("gender"), strict=True))["16b10Wb"] == "female"
    with pytest.raises(ValueError, match="angry: expected 127, found 1"):
        emodb.prepare(tmp_path)


def test_emodb_and_its_protocol_on_the_real_recordings(shared_data):
    protocol = find_protocol("emodb4_unseen_speakers")
    manifest = emodb.prepare(shared_data / "emodb4", emotions=tuple(protocol.tasks[0].classes))
    folds = protocol.folds(manifest)
    assert len(folds) == 10 and sum(len(f.report) for f in folds) == 339
    for fold in folds:
        assert len(set(fold.report.column("speaker"))) == 1
        assert len(fold.train) + len(fold.selection) + len(fold.report) == 339
