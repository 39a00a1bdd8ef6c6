from __future__ import annotations

from collections import Counter

import pytest

from sonolex.data.corpora import ravdess
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import wav


def test_ravdess_and_its_protocols(tmp_path):
    for actor in range(1, 25):
        for emotion in range(1, 9):
            wav(tmp_path / f"Actor_{actor:02d}" / f"03-01-{emotion:02d}-01-02-01-{actor:02d}.wav")
    wav(tmp_path / "Actor_02" / "03-02-05-01-02-01-02.wav")  # a song
    manifest = ravdess.prepare(tmp_path, strict=False)
    assert len(manifest) == 24 * 8 and Counter(manifest.column("gender")) == {"male": 96, "female": 96}
    row = manifest.where(speaker="12", emotion="fearful")
    assert row[0].id == "03-01-06-01-02-01-12" and row[0].text == "Dogs are sitting by the door."
    folds = find_protocol("ravdess_6fold").folds(manifest)
    assert [len(f.report) for f in folds] == [32] * 6 and [len(f.train) for f in folds] == [128] * 6
    assert sorted(s for f in folds for s in set(f.report.column("speaker"))) == [f"{a:02d}" for a in range(1, 25)]
    assert "neutral" not in find_protocol("ravdess7_6fold").folds(manifest)[0].train.column("emotion")
    with pytest.raises(ValueError, match="neutral: expected 96, found 24"):
        ravdess.prepare(tmp_path)
    wav(tmp_path / "Actor_03" / "03-01-05-01-02-01-04.wav")
    wav(tmp_path / "Actor_03" / "copy of something.wav")
    with pytest.raises(ValueError, match=r"copy of something[\s\S]*|folder of its actor, Actor_04"):
        ravdess.prepare(tmp_path)
    with pytest.raises(FileNotFoundError, match="Actor_01"):
        ravdess.prepare(tmp_path / "Actor_03")
