from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sonolex.data.corpora import fsdd
from sonolex.protocols import fsdd_digits_unseen_speakers
from tests.data.corpora.miniatures import wav


def test_fsdd(tmp_path):
    for name in ("0_george_0", "7_theo_5", "not-a-digit"):
        wav(tmp_path / "recordings" / f"{name}.wav", rate=8000)
    with pytest.raises(ValueError, match=r"differs from the official release[\s\S]*not-a-digit"):
        fsdd.prepare(tmp_path)
    manifest = fsdd.prepare(tmp_path, strict=False)
    assert manifest.column("digit") == ["zero", "seven"] and manifest.column("split") == ["test", "train"]
    with pytest.raises(FileNotFoundError, match="recordings or audio"):
        fsdd.prepare(tmp_path / "recordings")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        fsdd.prepare(tmp_path / "nowhere")


def test_fsdd_and_its_protocols_on_the_real_recordings(shared_data, capsys):
    manifest = fsdd.prepare(shared_data / "fsdd")
    assert "found 3000 of 3000" in capsys.readouterr().out
    (fold,) = fsdd_digits_unseen_speakers.PROTOCOL.folds(manifest)
    assert (len(fold.train), len(fold.selection), len(fold.report)) == (1350, 150, 1500)
    assert manifest.take([0]).with_durations().durations_s[0] == pytest.approx(0.298)


def test_moving_one_clip_or_renaming_one_class_changes_the_fingerprint(shared_data):
    manifest = fsdd.prepare(shared_data / "fsdd")
    protocol = fsdd_digits_unseen_speakers.PROTOCOL
    moved = manifest.column("split")
    moved[0] = "train" if moved[0] == "test" else "test"
    prints = {protocol.fingerprint(manifest), protocol.fingerprint(manifest.with_column("split", moved))}
    renamed = replace(protocol.tasks[0], classes=("nil", *protocol.tasks[0].classes[1:]))
    prints.add(replace(protocol, tasks=(renamed,)).fingerprint(manifest))
    assert len(prints) == 3
    order = manifest.take(np.random.default_rng(0).permutation(len(manifest)))
    assert protocol.fingerprint(order) == protocol.fingerprint(manifest)
