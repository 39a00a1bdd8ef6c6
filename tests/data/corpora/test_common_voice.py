from __future__ import annotations

import pytest

from sonolex.data.corpora import common_voice
from tests.data.corpora.miniatures import text, wav


def test_common_voice_sentences_may_hold_quotes(tmp_path):
    for name in ("a.mp3", "b.mp3"):
        wav(tmp_path / "clips" / name.replace("mp3", "wav"))
    (tmp_path / "clips" / "a.wav").rename(tmp_path / "clips" / "a.mp3")
    (tmp_path / "clips" / "b.wav").rename(tmp_path / "clips" / "b.mp3")
    head = "client_id\tpath\tsentence\tage\tgender\taccents"
    text(tmp_path / "train.tsv", [head, 'u1\ta.mp3\t"Quoted, she said.\t\tfemale\tscottish'])
    text(tmp_path / "dev.tsv", [head, "u2\tb\tPlain.\ttwenties\t\t"])
    text(tmp_path / "test.tsv", [head])
    manifest = common_voice.prepare(tmp_path)
    assert manifest.column("text") == ['"Quoted, she said.', "Plain."] and manifest.column("speaker") == ["u1", "u2"]
    text(tmp_path / "test.tsv", [head, "u3\tgone.mp3\tHello.\t\t\t"])
    with pytest.raises(
        ValueError, match=r"test.tsv, line 2: gone.mp3 has no recording[\s\S]*test: expected 1, found 0"
    ):
        common_voice.prepare(tmp_path)
