"""Builders of miniature corpora, and the miniatures that several tests use."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import soundfile

from sonolex.data.corpora import mosei


def wav(path, seconds=0.1, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, int(seconds * rate)), rate)


def text(path, lines, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)


def digests(manifest) -> list[str]:
    return [hashlib.sha256(Path(str(c.audio)).read_bytes()).hexdigest() for c in manifest]


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
