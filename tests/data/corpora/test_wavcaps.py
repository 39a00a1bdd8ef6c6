from __future__ import annotations

import json

import pytest

from sonolex.data.corpora import wavcaps
from tests.data.corpora.miniatures import text, wav


def test_wavcaps_joins_captions_and_recordings_whatever_the_folder(tmp_path):
    wav(tmp_path / "mnt" / "x" / "FreeSound_flac" / "1234.flac")
    wav(tmp_path / "AudioSet_SL" / "Yb0RFKhbpFJA.flac")
    entries = [{"id": "1234", "caption": 'A "ticking"  clock, near.'}, {"id": "99", "caption": "gone"}]
    text(tmp_path / "json_files" / "FreeSound" / "fsd_final.json", [json.dumps({"data": entries})])
    entries = [{"id": "Yb0RFKhbpFJA.wav", "caption": "Birds sing."}]
    text(tmp_path / "json_files" / "AudioSet_SL" / "as_final.json", [json.dumps({"data": entries})])
    manifest = wavcaps.prepare(tmp_path, parts=("AudioSet_SL", "FreeSound"), strict=False)
    rows = list(zip(manifest.column("source_id"), manifest.column("text"), strict=True))
    assert rows == [("AudioSet_SL:Yb0RFKhbpFJA", "Birds sing."), ("1234", 'A "ticking" clock, near.')]
    with pytest.raises(ValueError, match="FreeSound: 1 of 2 captions have no recording"):
        wavcaps.prepare(tmp_path, parts=("FreeSound",))
    with pytest.raises(FileNotFoundError, match="SoundBible"):
        wavcaps.prepare(tmp_path, parts=("SoundBible",))
    with pytest.raises(ValueError, match="parts"):
        wavcaps.prepare(tmp_path, parts=("Bible",))
