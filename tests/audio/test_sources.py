"""Limits come before reading: what is no regular file, too large, or packed like a bomb."""

from __future__ import annotations

import io
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonolex.audio import io as audio_io
from sonolex.audio import sources
from sonolex.audio.io import AudioError, check_audio, probe_audio, read_audio, read_encoded
from tests.audio.test_io import encoded, sine

READERS = {
    "read": lambda source: read_audio(source, rate_hz=16_000),
    "excerpt": lambda source: read_audio(source, rate_hz=16_000, offset_s=0.1, duration_s=0.1),
    "probe": probe_audio,
    "check": check_audio,
    "bytes": read_encoded,
}
readers = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


@contextmanager
def within(seconds: float):
    """Context that raises TimeoutError where a read would wait for ever."""

    def stop(*_):
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@readers
def test_a_named_pipe_is_refused_and_not_waited_for(reader, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with within(5), pytest.raises(AudioError, match="regular file, but is a named pipe"):
        reader(tmp_path / "pipe.wav")


@readers
def test_devices_sockets_folders_and_links_to_them_are_refused(reader, tmp_path):
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(tmp_path / "socket.wav"))  # a socket's path is short
    for place, message in (
        ("/dev/zero", "a device"),
        ("/dev/null", "a device"),
        (tmp_path / "zero.wav", "a device"),
        (tmp_path / "socket.wav", "a socket"),
        (tmp_path, "a folder"),
        (tmp_path / "loop.wav", "cannot be read"),
    ):
        with within(5), pytest.raises(AudioError, match=message):
            reader(place)
    listener.close()


def test_a_link_to_a_file_is_the_file(tmp_path):
    (tmp_path / "clip.wav").write_bytes(encoded(sine(), 16_000))
    (tmp_path / "link.wav").symlink_to(tmp_path / "clip.wav")
    assert len(read_audio(tmp_path / "link.wav", rate_hz=16_000)) == 8000


def test_a_pipe_that_takes_the_place_of_a_file_after_it_was_looked_at_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "clip.wav"
    place.write_bytes(encoded(sine(), 16_000))
    status = place.stat()
    place.unlink()
    os.mkfifo(place)
    monkeypatch.setattr(sources.os, "stat", lambda path: status)
    with within(5), pytest.raises(AudioError, match="named pipe"):
        read_audio(place, rate_hz=16_000)


def test_a_file_that_becomes_shorter_or_vanishes_while_it_is_read_is_an_error_or_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(audio_io, "BLOCK_SAMPLES", 1000)
    for kind, suffix in (("PCM_16", "wav"), ("PCM_24", "wav"), ("PCM_16", "flac")):
        place = tmp_path / f"clip.{suffix}"
        place.write_bytes(encoded(sine(seconds=20.0), 16_000, suffix.upper(), kind))
        whole = read_audio(place, rate_hz=16_000)
        open_encoded = audio_io.open_encoded

        def opened(source, where, *, change, open_encoded=open_encoded):
            file = open_encoded(source, where)
            change()
            return file

        monkeypatch.setattr(audio_io, "open_encoded", lambda s, w, p=place: opened(s, w, change=p.unlink))
        assert np.array_equal(read_audio(place, rate_hz=16_000), whole)
        place.write_bytes(encoded(sine(seconds=20.0), 16_000, suffix.upper(), kind))
        monkeypatch.setattr(
            audio_io, "open_encoded", lambda s, w, p=place: opened(s, w, change=lambda: os.truncate(p, 5000))
        )
        with pytest.raises(AudioError, match=r"while it is read|lost sync|decoder"):
            read_audio(place, rate_hz=16_000)
        monkeypatch.setattr(audio_io, "open_encoded", open_encoded)


def test_no_descriptor_stays_open_whatever_happens(tmp_path):
    place = tmp_path / "clip.wav"
    before = len(list(Path("/dev/fd").iterdir()))
    for data in (encoded(sine(), 16_000), encoded(sine(), 16_000, "FLAC"), b"RIFF", b"nothing of the kind", b""):
        place.write_bytes(data)
        for reader in READERS.values():
            try:
                reader(place)
            except AudioError:
                continue
    assert len(list(Path("/dev/fd").iterdir())) == before


class Endless(io.RawIOBase):
    """A file object that never ends and returns pieces of its own size."""

    def __init__(self):
        self.num_bytes = 0

    def read(self, count: int = -1) -> bytes:
        self.num_bytes += 1 << 20
        return bytes(min(count, 1 << 20) if count >= 0 else 1 << 20)


def test_a_file_object_is_read_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(sources, "MOST_HELD_BYTES", 20 << 20)
    endless = Endless()
    with within(20), pytest.raises(AudioError, match="at most 20,971,520 bytes"):
        read_audio(endless, rate_hz=16_000)
    assert endless.num_bytes <= 22 << 20
    with pytest.raises(AudioError, match="at most 20,971,520 bytes"):
        read_audio(bytes(21 << 20), rate_hz=16_000)


def test_a_pipe_that_is_open_is_read_to_its_end(tmp_path):
    (tmp_path / "clip.wav").write_bytes(encoded(sine(seconds=5.0), 16_000))  # more than a pipe holds
    writer = subprocess.Popen(["cat", tmp_path / "clip.wav"], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with within(20), open(writer.stdout.fileno(), "rb", buffering=0, closefd=False) as pipe:
        assert len(read_audio(pipe, rate_hz=16_000)) == 80_000
    writer.wait()


@pytest.mark.parametrize("source", [None, 7, ["clip.wav"], io.StringIO("text"), (np.zeros(10),)])
def test_anything_but_a_source_is_refused_by_name(source):
    with pytest.raises(AudioError, match="audio must be"):
        read_audio(source, rate_hz=16_000)


def test_bytes_of_any_kind_are_bytes():
    data = encoded(sine(), 16_000)
    assert len(read_audio(bytearray(data), rate_hz=16_000)) == len(read_audio(memoryview(data), rate_hz=16_000)) == 8000


def sparse(place, head: bytes, size: int = 40 << 30):
    with place.open("wb") as f:
        f.write(head)
        f.truncate(size)
    return place


FORMAT = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)


def test_a_sparse_file_of_40_gb_is_refused_or_read_at_once_as_far_as_it_is_audio(tmp_path):
    heads = {
        "zeros.wav": b"",
        "chunks.wav": b"RIFF\xff\xff\xff\xffWAVE",
        "four_gb.wav": b"RIFF\xf0\xff\xff\xffWAVE" + FORMAT + b"data\xe0\xff\xff\xff",
        "rf64.wav": b"RF64\xff\xff\xff\xffWAVE"
        + struct.pack("<4sIQQQI", b"ds64", 28, 39 << 30, 38 << 30, 19 << 30, 0)
        + FORMAT
        + b"data\xff\xff\xff\xff",
        "pages.ogg": encoded(sine(), 16_000, "OGG", "VORBIS"),
        "frames.mp3": encoded(sine(), 16_000, "MP3", "MPEG_LAYER_III"),
        "tag.mp3": b"ID3\4\0\0\0\0\0\0",
        "frames.flac": encoded(sine(), 16_000, "FLAC"),
    }
    for name, head in heads.items():
        place = sparse(tmp_path / name, head)
        for reader in READERS.values():
            with within(20):
                try:
                    reader(place)
                except AudioError as e:
                    assert name in str(e)


def test_samples_behind_the_header_of_an_hour_long_file_are_read_alone(tmp_path):
    place = tmp_path / "long.wav"  # 25 days
    sparse(place, b"RIFF\xf0\xff\xff\xffWAVE" + FORMAT + b"data\x00\xff\xff\xff", 4 << 30)
    start = time.process_time()
    assert not read_audio(place, rate_hz=16_000, offset_s=100_000.0, duration_s=2.0).any()
    assert time.process_time() - start < 1
    with pytest.raises(AudioError, match="at most 3600 s"):
        read_audio(place, rate_hz=16_000)
    with pytest.raises(AudioError, match="at most 536,870,912 samples"):
        read_audio(place, rate_hz=16_000, max_duration_s=float("inf"))
    with pytest.raises(AudioError, match="at most 2,147,483,648 bytes"):
        read_encoded(place)


def announcing(num_samples: int, *, channels: int = 1) -> bytes:
    """Return a FLAC of half a second whose header says that it holds more."""
    data = bytearray(encoded(sine(channels=channels), 16_000, "FLAC"))
    low = int.from_bytes(data[18:26], "big") & ~0xFFFFFFFFF | num_samples
    data[18:26] = low.to_bytes(8, "big")
    return bytes(data)


def test_a_flac_that_would_unpack_to_gigabytes_is_refused_by_its_header():
    with pytest.raises(AudioError, match="at most 3600 s"):
        read_audio(announcing(7 << 30), rate_hz=16_000)
    for num_samples, message in ((7 << 30, "at most 536,870,912 samples"), (1 << 29, "at most 256 samples a byte")):
        for reader in (read_audio, check_audio):
            with pytest.raises(AudioError, match=message):
                reader(announcing(num_samples), rate_hz=16_000, max_duration_s=float("inf"))
    with pytest.raises(AudioError, match="over all channels"):
        read_audio(announcing(3 << 28, channels=8), rate_hz=16_000, max_duration_s=float("inf"))


def test_the_size_after_resampling_counts_too():
    data = soundfile_silence(1_000, 1_000)
    with pytest.raises(AudioError, match="at most 536,870,912 samples"):
        audio_io._require_readable(
            1 << 25, audio_io.AudioInfo(1_000, 1, 1 << 25), 1 << 26, 48_000, audio_io.Where("", "")
        )
    with pytest.raises(AudioError, match="after resampling"):
        read_audio((np.zeros(1), 384_000), rate_hz=16_000)
    with pytest.raises(AudioError, match="after resampling"):
        check_audio((np.zeros(1), 384_000), rate_hz=16_000)
    assert len(read_audio(data, rate_hz=48_000)) == 48_000


def soundfile_silence(num_samples: int, rate: int, channels: int = 1) -> bytes:
    place = io.BytesIO()
    soundfile.write(place, np.zeros((num_samples, channels), np.int16), rate, format="FLAC")
    return place.getvalue()


HOSTILE = """
import resource, sys
from pathlib import Path
import numpy, soundfile, soxr
from sonolex.audio.io import AudioError, check_audio, read_audio
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
for path in sorted(folder.iterdir()):
    for inf in (3600.0, float("inf")):
        for read in (check_audio, read_audio):
            try:
                read(path, rate_hz=16_000, max_duration_s=inf)
                print(path.name, "read")
            except AudioError as e:
                print(path.name, e.field)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_memory_is_the_mono_excerpt_and_a_block_whatever_the_header_says(tmp_path):
    (tmp_path / "lies.flac").write_bytes(announcing(1 << 27))  # 512 MB, and under every limit
    (tmp_path / "wide.flac").write_bytes(soundfile_silence(1 << 22, 96_000, 8))  # 134 MB as float32, 17 as mono
    (tmp_path / "zeros.mp3").write_bytes(encoded(sine(), 16_000, "MP3", "MPEG_LAYER_III") + bytes(1 << 20))
    done = subprocess.run([sys.executable, "-c", HOSTILE, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *lines, peak_mb = done.stdout.split("\n")[:-1]
    lies = [*["lies.flac duration_s"] * 2, *["lies.flac audio"] * 2]
    assert lines == [*lies, *["wide.flac read"] * 4, *["zeros.mp3 read"] * 4]
    assert int(peak_mb) < 60, peak_mb


def test_archives_are_no_audio(tmp_path):
    import tarfile
    import zipfile

    (tmp_path / "clip.wav").write_bytes(encoded(sine(), 16_000))
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as z:
        z.write(tmp_path / "clip.wav")
    with tarfile.open(tmp_path / "clips.tar", "w") as t:
        t.add(tmp_path / "clip.wav")
    for name in ("clips.zip", "clips.tar"):
        with pytest.raises(AudioError, match="cannot be opened"):
            read_audio(tmp_path / name, rate_hz=16_000)


def test_an_excerpt_of_every_format_is_the_same_from_a_path_and_from_memory(tmp_path):
    from tests.audio.test_io import FORMATS

    for number, (kind, subtype) in enumerate([*FORMATS, ("AIFF", "PCM_16"), ("RF64", "PCM_16")]):
        data = encoded(sine(seconds=3.0), 16_000, kind, subtype)
        place = tmp_path / f"{number}.audio"
        place.write_bytes(data)
        for offset in (0.0, 1.25):
            part = read_audio(place, rate_hz=16_000, offset_s=offset, duration_s=0.5)
            assert np.array_equal(part, read_audio(data, rate_hz=16_000, offset_s=offset, duration_s=0.5))
