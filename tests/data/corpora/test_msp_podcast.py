from __future__ import annotations

import pytest

from sonolex.data.corpora import msp_podcast
from sonolex.protocols.base import find_protocol
from tests.data.corpora.miniatures import text, wav


def test_msp_podcast_and_its_protocols(tmp_path):
    turns = [("0001_0001", "A", "Train"), ("0002_0001", "N", "Development"), ("0003_0001", "X", "Test1")]
    turns += [("0003_0002", "H", "Test1"), ("0004_0001", "O", "Test2")]
    for name, _, _ in turns:
        wav(tmp_path / "Audios" / f"MSP-PODCAST_{name}.wav")
    consensus = ["FileName,EmoClass,EmoAct,SpkrID,Gender,Split_Set"]
    consensus += [f"MSP-PODCAST_{n}.wav,{c},4.2,{'Unknown' if c == 'O' else '7'},Male,{s}" for n, c, s in turns]
    text(tmp_path / "Labels" / "labels_concensus.csv", consensus)
    detailed = ["FileName,Worker,EmoClass_Major,EmoClass_Second"]
    detailed += ['MSP-PODCAST_0001_0001.wav,1,Angry,"Angry,Contempt"', "MSP-PODCAST_0001_0001.wav,2,Neutral,"]
    detailed += ["MSP-PODCAST_0002_0001.wav,1,Other-bored,", 'MSP-PODCAST_0003_0001.wav,1,Happy,"Happy,Surprise"']
    text(tmp_path / "Labels" / "labels_detailed.csv", detailed)
    text(tmp_path / "Transcripts" / "MSP-PODCAST_0001_0001.txt", ["Well, no."])
    manifest = msp_podcast.prepare(tmp_path)
    assert manifest.column("split") == ["train", "validation", "test1", "test1", "test2"]
    assert manifest.column("emotion") == ["angry", "neutral", None, "happy", None]
    assert manifest.column("emotions") == ["angry;contempt;neutral", "none", "happy;surprise", None, None]
    assert manifest[0].text == "Well, no." and manifest[1].text is None and manifest[4].speaker is None
    (primary,) = find_protocol("msp_podcast_primary").folds(manifest)
    assert primary.report.column("id") == ["MSP-PODCAST_0003_0002"]
    (every,) = find_protocol("msp_podcast_all").folds(manifest)
    assert every.report.column("id") == ["MSP-PODCAST_0003_0001"]
    text(tmp_path / "Labels" / "labels_concensus.csv", [*consensus, "gone.wav,Q,1,7,Male,Train"])
    with pytest.raises(ValueError, match=r"gone\.wav: audio missing"):
        msp_podcast.prepare(tmp_path)
    (tmp_path / "Labels" / "labels_concensus.csv").unlink()
    with pytest.raises(FileNotFoundError, match="labels_consensus"):
        msp_podcast.prepare(tmp_path)
