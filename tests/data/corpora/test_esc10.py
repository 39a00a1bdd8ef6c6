from __future__ import annotations

import pytest

from sonolex.data.corpora import esc10
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import wav


def test_esc10_in_its_official_folders(tmp_path):
    wav(tmp_path / "001 - Dog bark" / "1-30226-A.ogg", rate=44_100)
    wav(tmp_path / "010 - Fire crackling" / "5-1-B.ogg", rate=44_100)
    manifest = esc10.prepare(tmp_path, strict=False)
    assert manifest.column("sound") == ["dog bark", "fire crackling"] and manifest.column("source_id") == ["30226", "1"]
    with pytest.raises(ValueError, match="baby cry, fold 1: expected 8, found 0"):
        esc10.prepare(tmp_path)
    with pytest.raises(FileNotFoundError, match="NNN - Sound"):
        esc10.prepare(tmp_path / "001 - Dog bark")


def test_esc10_and_its_protocol_on_the_real_recordings(shared_data):
    manifest = esc10.prepare(shared_data / "esc10")
    folds = find_protocol("esc10").folds(manifest)
    assert [len(f.report) for f in folds] == [80] * 5
    for fold in folds:
        assert 28 <= len(fold.selection) <= 36 and set(fold.selection.column("sound")) == set(esc10.SOUNDS)
