from __future__ import annotations

import numpy as np
import pytest

from sonolex.data.corpora import iemocap
from sonolex.protocols import iemocap4, iemocap4_excited
from tests.data.corpora.miniatures import text, wav


def make_iemocap(root):
    """Two utterances of every speaker and usual emotion, one of them not to be used, one without text."""
    for session in range(1, 6):
        folder, labels, lines = (
            root / f"Session{session}",
            ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"],
            [],
        )
        dialog = f"Ses{session:02d}F_impro01"
        number = 0
        for gender in "FM":
            for emotion in ("neu", "hap", "exc", "ang", "sad", "xxx"):
                clip_id = f"{dialog}_{gender}{number:03d}"
                labels.append(f"[{number}.0000 - {number}.9000]\t{clip_id}\t{emotion}\t[2.5000, 3.0000, 1.5000]")
                labels.append("C-E2:\tNeutral;\t()")
                lines.append(f"{clip_id} [{number:03d}.0000-{number:03d}.9000]: {'' if emotion == 'hap' else 'Yeah.'}")
                wav(folder / "sentences" / "wav" / dialog / f"{clip_id}.wav")
                number += 1
        lines.append("F: breathing that is no utterance")
        text(folder / "dialog" / "EmoEvaluation" / f"{dialog}.txt", labels, "latin-1")
        text(folder / "dialog" / "transcriptions" / f"{dialog}.txt", lines, "latin-1")


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
