from __future__ import annotations

import pytest

from sonolex.data.corpora import esc50
from tests.data.corpora.miniatures import text, wav


def test_esc50(tmp_path):
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold, source, target, category in ((1, 100032, 0, "dog"), (2, 117795, 11, "sea_waves"), (5, 9, 49, "hand_saw")):
        name = f"{fold}-{source}-A-{target}.wav"
        wav(tmp_path / "audio" / name)
        lines.append(f"{name},{fold},{target},{category},{target == 0},{source},A")
    text(tmp_path / "meta" / "esc50.csv", lines)
    manifest = esc50.prepare(tmp_path, strict=False)
    assert manifest.column("sound") == ["dog", "sea waves", "hand saw"] and manifest.column("fold") == ["1", "2", "5"]
    assert manifest.column("esc10") == [True, False, False] and set(manifest.column("sound")) <= set(esc50.CLASSES)
    with pytest.raises(ValueError, match="airplane, fold 1: expected 8, found 0"):
        esc50.prepare(tmp_path)
    (tmp_path / "audio" / "2-117795-A-11.wav").unlink()
    wav(tmp_path / "audio" / "3-1-A-4.wav")
    with pytest.raises(ValueError, match=r"3-1-A-4.wav: must be named[\s\S]*2-117795-A-11.wav: is in meta/esc50.csv"):
        esc50.prepare(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"meta/esc50\.csv"):
        esc50.prepare(tmp_path / "audio")
