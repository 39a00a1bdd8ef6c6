from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from sonolex.audio.io import AudioError, check_audio, probe_audio, read_audio

WAVS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_24")]
FORMATS = [*WAVS, ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


def sine(rate: int = 16_000, seconds: float = 0.5, channels: int = 1) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return np.stack([wave] * channels, 1).astype(np.float32)


def encoded(wave: np.ndarray, rate: int, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    place = io.BytesIO()
    soundfile.write(place, wave, rate, format=kind, subtype=subtype)
    return place.getvalue()


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_every_format_is_read_from_path_bytes_and_file(kind, subtype, tmp_path):
    data = encoded(sine(), 16_000, kind, subtype)
    path = tmp_path / f"clip.{kind.lower()}"
    path.write_bytes(data)
    waves = [read_audio(s, rate_hz=16_000) for s in (path, str(path), data, io.BytesIO(data), path.open("rb"))]
    assert all(np.array_equal(w, waves[0]) for w in waves)
    assert waves[0].dtype == np.float32 and abs(len(waves[0]) - 8000) < 3000
    assert 0.4 < np.abs(waves[0]).max() < 0.7
    assert probe_audio(path).rate_hz in (16_000, 48_000)


def test_our_wav_parser_gives_what_libsndfile_gives():
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, (4000, 2)).astype(np.float32)
    for subtype in ("PCM_16", "FLOAT"):
        data = encoded(wave, 16_000, "WAV", subtype)
        expected, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        assert np.allclose(read_audio(data, rate_hz=16_000), expected.mean(1), atol=1e-7)


def test_stereo_becomes_mono_and_the_rate_is_changed():
    wave = read_audio((sine(44_100, channels=2), 44_100), rate_hz=16_000)
    assert wave.shape == (8000,)
    spectrum = np.abs(np.fft.rfft(wave))
    assert abs(np.argmax(spectrum) * 16_000 / len(wave) - 440) < 4


def test_integers_are_scaled_by_their_full_scale():
    wave = read_audio((np.array([16384, -32768], np.int16).repeat(100), 16_000), rate_hz=16_000)
    assert wave[0] == 0.5 and wave[-1] == -1.0


def test_an_excerpt_is_cut_to_the_sample():
    data = encoded(sine(seconds=1.0), 16_000)
    whole = read_audio(data, rate_hz=16_000)
    part = read_audio(data, rate_hz=16_000, offset_s=0.25, duration_s=0.5)
    assert np.array_equal(part, whole[4000:12_000])


def lying_wav() -> bytes:
    data = bytearray(encoded(sine(), 16_000))
    data[40:44] = struct.pack("<I", 10_000_000)
    return bytes(data)


def wav_of_rate(rate: int) -> bytes:
    data = bytearray(encoded(sine(), 16_000))
    data[24:28] = struct.pack("<I", rate)
    return bytes(data)


REFUSED = {
    "missing": ("nowhere.wav", "missing"),
    "empty": (b"", "empty"),
    "not audio": (b"this is a letter, not a recording" * 10, "cannot be opened"),
    "no samples": (encoded(np.zeros((0, 1), np.float32), 16_000), "holds 0"),
    "NaN": ((np.array([0.0, np.nan, 0.1]), 16_000), "finite"),
    "infinite": ((np.array([0.0, np.inf, 0.1]), 16_000), "finite"),
    "rate too low": (wav_of_rate(500), "1000 to 384000"),
    "rate too high": (wav_of_rate(500_000), "1000 to 384000"),
    "channels": ((np.zeros((10, 65), np.float32), 16_000), "64 channels"),
    "lying header": (lying_wav(), "announces"),
    "truncated flac": (encoded(sine(seconds=3.0), 16_000, "FLAC")[:9000], "flac|decoded|announces|opened"),
    "integers as floats": ((np.full(100, 3000.0), 16_000), "around ±1"),
    "text array": ((np.array(["a"]), 16_000), "float or int"),
    "no rate": ((np.zeros(10), float("nan")), "whole number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_audio_is_refused_with_clip_file_field_and_cure(name):
    source, message = REFUSED[name]
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(source, rate_hz=16_000, clip_id="clip-7")
    text = str(caught.value)
    assert "clip-7" in text and "file" in text and caught.value.field and caught.value.cure in text


def test_too_long_is_refused_before_decoding():
    with pytest.raises(AudioError, match=r"at most 0\.2 s"):
        read_audio(encoded(sine(), 16_000), rate_hz=16_000, max_duration_s=0.2)


def test_an_excerpt_outside_the_file_is_refused():
    data = encoded(sine(), 16_000)
    for offset, duration in ((0.6, None), (-0.1, None), (0.0, 0.7), (0.0, -1.0), (0.0, 0.0)):
        with pytest.raises(AudioError):
            read_audio(data, rate_hz=16_000, offset_s=offset, duration_s=duration)


def corrupted(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip, overwrite, splice or repeat part of a real file."""
    kind = rng.integers(6)
    if kind == 0:
        return data[: rng.integers(0, len(data))]
    changed = bytearray(data)
    if kind == 1:
        for _ in range(rng.integers(1, 50)):
            changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
    elif kind == 2:
        start = int(rng.integers(0, min(64, len(changed) - 8)))
        changed[start : start + 8] = rng.bytes(8)
    elif kind == 3:
        start, length = int(rng.integers(len(changed))), int(rng.integers(1, 2000))
        changed[start : start + length] = rng.bytes(min(length, len(changed) - start))
    elif kind == 4:
        start = int(rng.integers(len(changed)))
        changed = changed[:start] + changed[start + int(rng.integers(1, 500)) :]
    else:
        start = int(rng.integers(len(changed)))
        changed = changed[:start] + changed[: int(rng.integers(1, 400))] + changed[start:]
    return bytes(changed)


def real_files(shared_data) -> list[bytes]:
    clips = [
        *sorted((shared_data / "fsdd/audio").iterdir())[::500],
        *sorted((shared_data / "emodb4/audio").iterdir())[::120],
    ]
    files = []
    for path in clips:
        wave, rate = soundfile.read(path, dtype="float32")
        files += [path.read_bytes(), *(encoded(wave[:8000], rate, k, s) for k, s in FORMATS)]
    return files


def test_two_thousand_corruptions_of_real_files_are_decoded_or_refused_by_name(shared_data):
    rng = np.random.default_rng(0)
    files = real_files(shared_data)
    outcomes = {"decoded": 0, "refused": 0}
    for number in range(2100):
        data = corrupted(files[number % len(files)], rng)
        try:
            wave = read_audio(data, rate_hz=16_000, clip_id=f"fuzz-{number}", max_duration_s=60)
            assert np.isfinite(wave).all() and wave.ndim == 1 and len(wave)
            outcomes["decoded"] += 1
        except AudioError as e:
            assert f"fuzz-{number}" in str(e)
            outcomes["refused"] += 1
    assert outcomes["decoded"] > 100 and outcomes["refused"] > 300, outcomes


@pytest.mark.parametrize("name", REFUSED)
def test_checking_raises_what_reading_would_raise(name):
    source, _ = REFUSED[name]
    with pytest.raises(AudioError) as read:
        read_audio(source, rate_hz=16_000, clip_id="clip-7")
    with pytest.raises(AudioError) as checked:
        check_audio(source, clip_id="clip-7")
    assert str(checked.value) == str(read.value)


def test_a_digest_is_of_the_samples_not_of_their_container():
    wave = np.random.default_rng(0).integers(-30_000, 30_000, (4000, 2), np.int16)
    digests = {check_audio(encoded(wave, 16_000, *kind)).digest for kind in (("WAV", "PCM_16"), ("FLAC", "PCM_16"))}
    assert len(digests) == 1
    other = wave.copy()
    other[77, 1] += 1
    assert check_audio(encoded(other, 16_000)).digest not in digests
    assert check_audio(encoded(wave, 8_000)).digest not in digests


def test_a_checked_excerpt_has_the_digest_of_its_samples(monkeypatch):
    data = encoded(sine(seconds=1.0), 16_000)
    part = check_audio(data, offset_s=0.25, duration_s=0.5)
    assert part.num_samples == 8000 and part.duration_s == 0.5 and part.info.num_samples == 16_000
    assert part.digest == check_audio((read_audio(data, rate_hz=16_000)[4000:12_000], 16_000)).digest
    monkeypatch.setattr("sonolex.audio.io.BLOCK_SAMPLES", 777)
    assert part == check_audio(data, offset_s=0.25, duration_s=0.5)
    with pytest.raises(AudioError, match="offset"):
        check_audio(data, offset_s=1.5)


@pytest.mark.parametrize("kind", ["held", "on disk"])
def test_a_chunk_whose_length_leads_beyond_what_can_be_counted_is_refused(kind, tmp_path):
    """Found by `python -m benchmarks fuzz`: a CAF chunk of 2^63 bytes ended in an OverflowError, on disk only."""
    soundfile.write(tmp_path / "a.caf", np.zeros(800), 8000, format="CAF", subtype="PCM_16")
    content = bytearray((tmp_path / "a.caf").read_bytes())
    content[12:20] = (2**63 - 1).to_bytes(8, "big")  # the length of the first chunk
    (tmp_path / "a.caf").write_bytes(content)
    with pytest.raises(AudioError, match="has no chunk of samples"):
        read_audio(bytes(content) if kind == "held" else tmp_path / "a.caf", rate_hz=8000)
