from __future__ import annotations

import pytest

from sonolex.data.corpora import speech_commands
from tests.data.corpora.miniatures import text, wav


def test_speech_commands(tmp_path):
    for place in ("yes/0a7c2a8d_nohash_0", "yes/0a7c2a8d_nohash_1", "no/ffffffff_nohash_0", "_background_noise_/tap"):
        wav(tmp_path / f"{place}.wav")
    text(tmp_path / "validation_list.txt", ["yes/0a7c2a8d_nohash_1.wav"])
    text(tmp_path / "testing_list.txt", ["no/ffffffff_nohash_0.wav"])
    manifest = speech_commands.prepare(tmp_path, strict=False)
    rows = sorted(zip(manifest.column("word"), manifest.column("split"), manifest.column("speaker"), strict=True))
    expected = [("no", "test", "ffffffff"), ("yes", "train", "0a7c2a8d"), ("yes", "validation", "0a7c2a8d")]
    assert rows == expected and len(speech_commands.WORDS) == 35
    text(tmp_path / "testing_list.txt", ["no/ffffffff_nohash_0.wav", "zero/0_nohash_0.wav"])
    with pytest.raises(ValueError, match=r"zero/0_nohash_0\.wav: is in the official lists[\s\S]*train: expected 84843"):
        speech_commands.prepare(tmp_path)
    (tmp_path / "testing_list.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"testing_list\.txt"):
        speech_commands.prepare(tmp_path)
