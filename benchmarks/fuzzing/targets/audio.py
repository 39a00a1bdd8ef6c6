"""Recordings in every format that soundfile writes, read whole, as bytes and in part."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations
from benchmarks.fuzzing.cases import Mutation
from benchmarks.fuzzing.targets._material import RATE_HZ, wave

FORMATS = (
    ("WAV", "PCM_16", "wav"), ("WAV", "PCM_24", "wav"), ("WAV", "PCM_32", "wav"), ("WAV", "PCM_U8", "wav"),
    ("WAV", "FLOAT", "wav"), ("WAV", "DOUBLE", "wav"), ("WAV", "ULAW", "wav"), ("WAV", "ALAW", "wav"),
    ("WAV", "IMA_ADPCM", "wav"), ("WAV", "MS_ADPCM", "wav"), ("WAVEX", "PCM_16", "wav"),
    ("RF64", "PCM_16", "wav"), ("W64", "PCM_16", "w64"), ("AIFF", "PCM_16", "aiff"), ("AIFF", "PCM_24", "aiff"),
    ("AU", "PCM_16", "au"), ("AU", "ULAW", "au"), ("CAF", "PCM_16", "caf"), ("CAF", "ALAC_16", "caf"),
    ("NIST", "PCM_16", "nist"), ("FLAC", "PCM_16", "flac"), ("FLAC", "PCM_24", "flac"), ("OGG", "VORBIS", "ogg"),
    ("OGG", "OPUS", "opus"), ("MP3", "MPEG_LAYER_III", "mp3"),
)  # fmt: skip


def warm() -> None:
    import pyarrow.fs  # noqa: F401
    import soundfile  # noqa: F401
    import soxr  # noqa: F401

    import sonolex.audio.io  # noqa: F401


def make(folder: Path) -> None:
    import numpy as np
    import soundfile

    stereo_SC = np.stack([wave(0), wave(1)], 1)
    for kind, subtype, suffix in FORMATS:
        for name, samples in (("", wave(0)), ("-stereo", stereo_SC)):
            place = folder / f"{kind}-{subtype}{name}".lower()
            place.mkdir()
            soundfile.write(place / f"recording.{suffix}", samples, RATE_HZ, subtype=subtype, format=kind)


def mutate(folder: Path, rng: random.Random) -> Mutation:
    file = recording(folder)
    if rng.random() < 0.1:
        return mutations.join_files(file, file, rng)
    if rng.random() < 0.05:
        size = rng.choice((10, 1000, 2**28 - 1))
        header = b"ID3\x04\0\0" + bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
        file.write_bytes(header + file.read_bytes())
        return Mutation(f"{file.name}: ID3 tag of {size} bytes announced")
    return mutations.change_bytes(file, rng)


def use(folder: Path, out: Path) -> Any:
    from sonolex.audio.io import probe_audio, read_audio

    file = recording(folder)
    doors = (
        lambda: probe_audio(file),
        lambda: read_audio(file, rate_hz=RATE_HZ, offset_s=0.1, duration_s=0.1),
        lambda: read_audio(_content(file), rate_hz=16_000, clip_id=file.name),
        lambda: read_audio(file, rate_hz=RATE_HZ),
    )
    answers, refusals = [], []
    for door in doors:  # all of them: what one refuses, another may choke on
        try:
            answers.append(door())
        except ValueError as e:
            refusals.append(e)
    if refusals:
        raise refusals[0]
    return {"samples": answers[-1]}


def _content(file: Path) -> bytes | Path:
    """Return the encoded bytes, or the path of what is no regular file of a reasonable size: reading is sonolex's."""
    return file.read_bytes() if file.is_file() and file.stat().st_size < 64 << 20 else file


def recording(folder: Path) -> Path:
    return next(folder.glob("recording.*"))
