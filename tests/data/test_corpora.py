"""Every corpus on a miniature of its official layout, and FSDD and EMO-DB on the real thing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from sonolex.configs import module_names
from sonolex.data.corpora import (
    _layout,
    audioset,
    clotho_aqa,
    common_voice,
    emodb,
    esc10,
    esc10_captions,
    esc10_questions,
    esc50,
    fsdd,
    iemocap,
    librispeech,
    mosei,
    msp_podcast,
    ravdess,
    slue_voxceleb,
    speech_commands,
    wavcaps,
)
from sonolex.protocols import fsdd_digits_unseen_speakers, iemocap4, iemocap4_excited, librispeech_verification
from sonolex.protocols.base import find_protocol

GENERATED = {"tonewords", "tonewords_and_emodb", "tonewords_texts", "espeak_digits", "espeak_words", "sound_scenes"}
TESTED = {
    "esc10_captions",
    "clotho_aqa",
    "common_voice",
    "esc10_questions",
    "ravdess",
    "wavcaps",
    "audioset",
    "fsdd",
    "emodb",
    "esc10",
    "esc50",
    "librispeech",
    "iemocap",
    "mosei",
    "msp_podcast",
    "slue_voxceleb",
    "speech_commands",
}


def wav(path, seconds=0.1, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, int(seconds * rate)), rate)


def text(path, lines, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)


def test_every_corpus_is_tested_on_a_miniature():
    assert set(module_names("data.corpora")) == GENERATED | TESTED


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


def test_emodb(tmp_path):
    for name in ("03a01Fa", "16b10Wb", "09a02Lc", "strange"):
        wav(tmp_path / "wav" / f"{name}.wav")
    manifest = emodb.prepare(tmp_path, strict=False)
    assert Counter(manifest.column("emotion")) == {"happy": 1, "angry": 1, "bored": 1}
    assert dict(zip(manifest.column("id"), manifest.column("gender"), strict=True))["16b10Wb"] == "female"
    with pytest.raises(ValueError, match="angry: expected 127, found 1"):
        emodb.prepare(tmp_path)


def test_emodb_and_its_protocol_on_the_real_recordings(shared_data):
    protocol = find_protocol("emodb4_unseen_speakers")
    manifest = emodb.prepare(shared_data / "emodb4", emotions=tuple(protocol.tasks[0].classes))
    folds = protocol.folds(manifest)
    assert len(folds) == 10 and sum(len(f.report) for f in folds) == 339
    for fold in folds:
        assert len(set(fold.report.column("speaker"))) == 1
        assert len(fold.train) + len(fold.selection) + len(fold.report) == 339


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


def test_esc10_in_its_official_folders(tmp_path):
    wav(tmp_path / "001 - Dog bark" / "1-30226-A.ogg", rate=44_100)
    wav(tmp_path / "010 - Fire crackling" / "5-1-B.ogg", rate=44_100)
    manifest = esc10.prepare(tmp_path, strict=False)
    assert manifest.column("sound") == ["dog bark", "fire crackling"] and manifest.column("source_id") == ["30226", "1"]
    with pytest.raises(ValueError, match="baby cry, fold 1: expected 8, found 0"):
        esc10.prepare(tmp_path)
    with pytest.raises(FileNotFoundError, match="NNN - Sound"):
        esc10.prepare(tmp_path / "001 - Dog bark")


def test_esc10_and_its_protocol_on_the_real_recordings(shared_data):
    manifest = esc10.prepare(shared_data / "esc10")
    folds = find_protocol("esc10").folds(manifest)
    assert [len(f.report) for f in folds] == [80] * 5
    for fold in folds:
        assert 28 <= len(fold.selection) <= 36 and set(fold.selection.column("sound")) == set(esc10.SOUNDS)


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


def test_audioset_has_several_tags_per_excerpt_and_counts_what_has_disappeared(tmp_path, capsys):
    classes = ["index,mid,display_name", '0,/m/09x0r,"Speech"', '1,/m/05zppz,"Male speech, man speaking"']
    classes += [f"{i},/m/{i},class {i}" for i in range(2, 527)]
    text(tmp_path / "class_labels_indices.csv", classes)
    head = ["# Segments csv created", "# num_ytids=3", "# YTID, start_seconds, end_seconds, positive_labels"]
    listed = ['--a, 30.000, 40.000, "/m/09x0r,/m/05zppz"', 'b_b, 0.000, 9.500, "/m/2"', 'gone, 0.000, 10.000, "/m/3"']
    text(tmp_path / "eval_segments.csv", head + listed)
    wav(tmp_path / "eval" / "Y--a.wav")
    wav(tmp_path / "eval" / "b_b_0.wav")
    manifest = audioset.prepare(tmp_path, segments=("eval",), strict=False)
    assert manifest.column("tags") == ["Speech;Male speech, man speaking", "class 2"]
    assert manifest.column("split") == ["test"] * 2 and "found 2 of 3" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"expected 20371 listed excerpts, found 3[\s\S]*1 of 3 listed"):
        audioset.prepare(tmp_path, segments=("eval",))
    with pytest.raises(ValueError, match="segments"):
        audioset.prepare(tmp_path, segments=("test",))


def make_librispeech(root, subsets):
    for number, subset in enumerate(subsets):
        for speaker in (100 + 2 * number, 101 + 2 * number):
            folder = root / subset / str(speaker) / "7"
            lines = []
            for i in range(2):
                clip_id = f"{speaker}-7-{i:04d}"
                folder.mkdir(parents=True, exist_ok=True)
                wave = np.random.default_rng(i).uniform(-0.1, 0.1, 1600)
                soundfile.write(folder / f"{clip_id}.flac", wave, 16_000)
                lines.append(f"{clip_id} SPOKEN WORDS {i}")
            text(folder / f"{speaker}-7.trans.txt", lines)


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


def make_mosei(root):
    """Two segments of five videos, one of them without text, one video in no fold, and a label without audio."""
    labels = [",".join(mosei.COLUMNS)]
    for number, fold in enumerate(("train", "train", "validation", "test", "")):
        video = f"video{number}"
        wav(root / "Audio" / "WAV_16000" / f"{video}.wav", seconds=2.0)
        lines = [f"{video}___0___0.0___0.9___it's {video}, ___ well", f"{video}___1___1.0___1.8___", "broken line"]
        text(root / "Transcript" / "Segmented" / "Combined" / f"{video}.txt", lines)
        labels += [f"{video},{s},{fold},{v},0,0,0,0,0,0" for s, v in ((0, -1.333), (1, 2.0))]
    labels[1] = labels[1].replace(",0,0,0,0,0,0", ",0.333,0,0,0,0,3")
    labels.append("gone,0,train,1.0,0,0,0,0,0,0")
    text(root / "labels.csv", labels)


def test_mosei_and_its_protocol(tmp_path):
    make_mosei(tmp_path)
    manifest = mosei.prepare(tmp_path, strict=False)
    assert len(manifest) == 10 and manifest[0].text == "it's video0, ___ well" and manifest[1].text is None
    assert manifest[0].offset_s == 0.0 and manifest[1].duration_s == pytest.approx(0.8)
    (fold,) = find_protocol("mosei_sentiment").folds(manifest)
    assert (len(fold.train), len(fold.selection), len(fold.report)) == (4, 2, 2)
    assert set(manifest.column("emotions")) == {"none", "happy;fear"}
    (fold,) = find_protocol("mosei_emotion").folds(manifest)
    assert len(fold.report) == 2
    with pytest.raises(ValueError, match=r"gone, segment 0: audio missing[\s\S]*train: expected 16327, found 4"):
        mosei.prepare(tmp_path)


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


def test_an_excerpt_at_the_start_of_a_file_is_not_the_whole_file(tmp_path, processor):
    from sonolex.data.loader import Loader, Loading
    from sonolex.data.manifest import manifest_from_rows

    wav(tmp_path / "long.wav", seconds=2.0)
    rows = [{"id": "part", "audio": "long.wav", "offset_s": 0.0, "duration_s": 0.5}, {"id": "all", "audio": "long.wav"}]
    loader = Loader(manifest_from_rows(rows, root=tmp_path), processor, loading=Loading(num_workers=0))
    (batch,) = loader.batches([np.arange(2)])
    assert batch.frames_valid_BT.sum(1).tolist() == [26, 101]


def test_the_root_is_found_in_sonolex_data(tmp_path, monkeypatch):
    monkeypatch.delenv("SONOLEX_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"none is given. Name it with --root \(of prepare, .*SONOLEX_DATA"):
        _layout.corpus_root(None, "fsdd")
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist. Name it with --root.*SONOLEX_DATA"):
        _layout.corpus_root(tmp_path / "nowhere", "fsdd")
    monkeypatch.setenv("SONOLEX_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"\$SONOLEX_DATA \(.*\) holds no emodb or emodb4"):
        _layout.corpus_root(None, "emodb", "emodb4")
    (tmp_path / "fsdd").mkdir()
    monkeypatch.setenv("SONOLEX_DATA", str(tmp_path))
    assert _layout.corpus_root(None, "fsdd") == tmp_path / "fsdd"


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


def clotho(root):
    for name in ("souffle_me.tallique.wav", 'Rain, "heavy".wav', "birds.wav"):
        wav(root / "audio_files" / name)
    text(
        root / "clotho_aqa_metadata.csv",
        [
            "file_name,keywords,sound_id",
            "souffle_me_tallique.wav,a;b,1234",
            "birds.wav,x,77",
            '"Rain, ""heavy"".wav",y,Not found',
        ],
    )
    heads = "file_name,QuestionText,answer,confidence"
    asked = [f"souffle_me_tallique.wav,Is it metal?,{a},yes" for a in ("yes", "Yes", "no")]
    asked += [f'"Rain, ""heavy"".wav","What falls, and hits?",{a},maybe' for a in ("rain", "rain", "water")]
    text(
        root / "clotho_aqa_train.csv",
        [heads, *asked, *(f"birds.wav,Which animal?,{a},yes" for a in ("bird", "crow", "dove"))],
    )
    text(root / "clotho_aqa_val.csv", [heads, "birds.wav,Is it loud?,no,yes"])
    text(root / "clotho_aqa_test.csv", [heads, "birds.wav,Is it quiet?,yes,yes", "gone.wav,Who sings?,bird,yes"])


def test_clotho_aqa_merges_annotators_by_a_stated_rule_and_finds_renamed_files(tmp_path, capsys):
    clotho(tmp_path)
    with pytest.raises(ValueError, match=r"gone\.wav is not in audio_files[\s\S]*train: expected 1174, found 3"):
        clotho_aqa.prepare(tmp_path)
    manifest = clotho_aqa.prepare(tmp_path, strict=False)
    assert "1 questions have no majority answer" in capsys.readouterr().out
    by_question = {c.text: c for c in manifest}
    metal, rain = by_question["Is it metal?"], by_question["What falls, and hits?"]
    assert metal.audio.endswith("souffle_me.tallique.wav") and metal.labels["binary"] == "yes"
    assert metal.labels["agreement"] == pytest.approx(2 / 3) and rain.labels["open"] == "rain"
    sources = dict(zip(manifest.column("text"), manifest.column("source_id"), strict=True))
    assert sources["Is it metal?"] == "1234" and sources["What falls, and hits?"] is None
    assert "Which animal?" not in by_question and rain.labels["binary"] is None
    each = clotho_aqa.prepare(tmp_path, merge="each", strict=False)
    assert Counter(each.column("open"))["crow"] == 1 and len(each) == 11
    unanimous = clotho_aqa.prepare(tmp_path, merge="unanimous", strict=False)
    assert sorted(unanimous.column("text")) == ["Is it loud?", "Is it quiet?"]
    with pytest.raises(ValueError, match="merge"):
        clotho_aqa.prepare(tmp_path, merge="loudest")
    (fold,) = find_protocol("clotho_aqa_open").split(manifest)
    assert fold.train.column("open") == ["rain"]


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


def test_captions_say_what_is_heard(shared_data):
    manifest = esc10_captions.prepare(shared_data / "esc10")
    for clip, sound in zip(manifest, manifest.column("sound"), strict=True):
        assert esc10_questions.WORDS[sound] in clip.text
    assert len({t for t, s in zip(manifest.column("text"), manifest.column("sound"), strict=True) if s == "rain"}) == 4


def test_a_question_about_a_sound_says_nothing_by_itself(shared_data):
    manifest = esc10_questions.prepare(shared_data / "esc10")
    folds = find_protocol("esc10_questions").folds(manifest)
    assert len(manifest) == 1200 and [len(f.report) for f in folds] == [240] * 5
    for fold in folds:
        answers = Counter(zip(fold.report.column("text"), fold.report.column("present"), strict=True))
        asked = {t for t, a in answers if a}
        assert all(answers[t, "yes"] == answers[t, "no"] for t in asked) and len(asked) == 40
        heard = Counter(zip(fold.report.column("text"), fold.report.column("heard"), strict=True))
        assert {n for (t, a), n in heard.items() if a} == {2}  # every open phrasing with every answer, equally often
