from __future__ import annotations

import pytest

from sonolex.data.corpora import slue_voxceleb
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import text, wav


def test_slue_voxceleb_and_its_protocol(tmp_path, monkeypatch):
    labels = ["Positive", "Neutral", "Neutral", "Mixed", "Negative", "Disagreement", "Positive", "Neutral"]
    for part, folder in (("fine-tune", "fine-tune_raw"), ("dev", "dev_raw")):
        lines = ["id\tnormalized_text\tspeaker_id\tsentiment\tstart_second\tend_second"]
        for i, label in enumerate(labels):
            wav(tmp_path / folder / f"{part}_{i}.flac")
            lines.append(f'{part}_{i}\tsaid "{i}\tid{i}\t{label}\t0\t1')
        text(tmp_path / f"slue-voxceleb_{part}.tsv", lines)
    with pytest.raises(ValueError, match="fine-tune: expected 5777, found 8"):
        slue_voxceleb.prepare(tmp_path)
    monkeypatch.setattr(slue_voxceleb, "COUNTS", {"fine-tune": 8, "dev": 8})
    manifest = slue_voxceleb.prepare(tmp_path)
    expected = ["positive", "neutral", "neutral", None, "negative", None, "positive", "neutral"]
    assert manifest.column("sentiment") == expected * 2 and manifest[0].id == "v0.2_fine-tune_0"
    assert manifest[0].text == 'said "0'
    (fold,) = find_protocol("slue_voxceleb_sentiment").folds(manifest)
    assert len(fold.report) == 6 and len(fold.train) + len(fold.selection) == 6
    assert slue_voxceleb.prepare(tmp_path, disputed="neutral").column("sentiment")[3] == "neutral"
    older = slue_voxceleb.prepare(tmp_path, release="0.1")
    fingerprint = find_protocol("slue_voxceleb_sentiment").fingerprint
    assert fingerprint(older) != fingerprint(manifest)
    (tmp_path / "dev_raw" / "dev_1.flac").unlink()
    with pytest.raises(ValueError, match="dev_1: audio missing"):
        slue_voxceleb.prepare(tmp_path)
