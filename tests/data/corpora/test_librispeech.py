from __future__ import annotations

import pytest

from sonolex.data.corpora import librispeech
from sonolex.protocols import librispeech_verification
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import make_librispeech, text, wav


def test_librispeech_and_its_protocol(tmp_path):
    subsets = (*librispeech.TRAIN_960, "dev-clean", "test-clean")
    make_librispeech(tmp_path, subsets)
    manifest = librispeech.prepare(tmp_path, subsets=subsets, strict=False)
    assert len(manifest) == 20 and manifest[0].text == "SPOKEN WORDS 0"
    (fold,) = librispeech_verification.PROTOCOL.folds(manifest)
    assert (len(fold.train), len(fold.selection), len(fold.report)) == (12, 4, 4)
    with pytest.raises(ValueError, match="train-clean-100: expected 28539, found 4"):
        librispeech.prepare(tmp_path, subsets=subsets)
    with pytest.raises(FileNotFoundError, match="dev-other"):
        librispeech.prepare(tmp_path)
    with pytest.raises(ValueError, match="train-clean-1000"):
        librispeech.prepare(tmp_path, subsets=("train-clean-1000",))
    (tmp_path / "dev-clean" / "106" / "7" / "106-7-0001.flac").unlink()
    with pytest.raises(ValueError, match="106-7-0001 has no audio"):
        librispeech.prepare(tmp_path, subsets=("dev-clean",))


def test_speakers_are_identified_among_known_ones(tmp_path):
    folder = tmp_path / "train-clean-100"
    for speaker in (19, 26):
        clips = [f"{speaker}-7-{i:04d}" for i in range(20)]
        for clip_id in clips:
            wav(folder / str(speaker) / "7" / f"{clip_id}.flac")
        text(folder / str(speaker) / "7" / f"{speaker}-7.trans.txt", [f"{c} WORDS" for c in clips])
    protocol = find_protocol("librispeech_speakers")
    (fold,) = protocol.folds(librispeech.prepare(tmp_path, subsets=("train-clean-100",), strict=False))
    assert (len(fold.train), len(fold.selection), len(fold.report)) == (32, 4, 4)
    assert set(fold.report.column("speaker")) == {"19", "26"}
