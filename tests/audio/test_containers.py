"""A truncated file is no shorter clip, in any container; a whole one is read, whatever stands before and behind it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from sonolex.audio import streams
from sonolex.audio.io import AudioError, check_audio, probe_audio, read_audio
from tests.audio.test_io import encoded

RATE = 16_000
SERVED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3")
ONLY_AT = {"GSM610": 8_000, "G721_32": 8_000, "G723_24": 8_000, "G723_40": 8_000}
# libsndfile writes what it does not read
UNREAD = {("AIFF", "DWVW_16"), ("AIFF", "DWVW_24")}


def wave(seconds: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.3 * np.sin(np.arange(int(seconds * RATE)) / 7) + 0.05 * rng.normal(size=int(seconds * RATE))).astype("f")


def written(kind: str, subtype: str, *, channels: int = 1, seconds: float = 1.0) -> bytes | None:
    """Return what libsndfile writes of this kind; None if it cannot."""
    try:
        return encoded(np.stack([wave(seconds)] * channels, 1), ONLY_AT.get(subtype, RATE), kind, subtype)
    except (soundfile.SoundFileError, ValueError):
        return None


def everything() -> dict[str, bytes]:
    files = {}
    for kind in SERVED:
        for subtype in soundfile.available_subtypes(kind):
            for channels in (1, 2):
                if (kind, subtype) not in UNREAD and (data := written(kind, subtype, channels=channels)) is not None:
                    files[f"{kind} {subtype} {channels}"] = data
    return files


FILES = everything()


def cuts(data: bytes) -> list[int]:
    rng = np.random.default_rng(0)
    near_the_end = [len(data) - int(n) for n in rng.integers(1, min(1000, len(data)), 8)]
    return [*(len(data) * i // 20 for i in range(1, 20)), *near_the_end, len(data) - 1, len(data) - 2]


def outcome(data: bytes) -> tuple | None:
    try:
        checked = check_audio(data)
    except AudioError as e:
        assert e.cure
        return None
    assert probe_audio(data).num_samples == checked.num_samples
    return checked.num_samples, checked.digest


def test_all_containers_are_written_by_this_libsndfile():
    kinds = {name.split()[0] for name in FILES}
    assert kinds >= {"WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG"} and len(FILES) > 100


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read_and_truncated_ones_are_never_shorter_clips(name):
    whole = outcome(FILES[name])
    assert whole is not None
    for cut in cuts(FILES[name]):
        assert outcome(FILES[name][:cut]) in (None, whole), f"accepted when cut at byte {cut} of {len(FILES[name])}"
    assert outcome(FILES[name][: len(FILES[name]) // 2]) is None


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "RF64"])
def test_what_libsndfile_reads_of_a_whole_file_is_what_we_read(kind):
    subtype = soundfile.default_subtype(kind)
    expected, rate = soundfile.read(io.BytesIO(FILES[f"{kind} {subtype} 2"]), dtype="float32")
    wave_S = read_audio(FILES[f"{kind} {subtype} 2"], rate_hz=rate)
    assert np.allclose(wave_S, expected.mean(1), atol=1e-7)


@pytest.mark.parametrize("kind", ["IRCAM", "PVF", "PAF", "AVR", "MAT4", "MAT5", "VOC", "SVX", "HTK", "MPC2K", "SDS"])
def test_formats_that_cannot_show_that_they_are_whole_are_refused(kind):
    data = written(kind, "PCM_16")
    assert data is not None
    with pytest.raises(AudioError, match=r"audio must be WAV, .* or MP3"):
        read_audio(data, rate_hz=RATE)


ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
ID3V2 = b"ID3\4\0\0" + bytes([0, 0, 7, 104]) + b"\0" * 1000
APE_ITEMS = struct.pack("<II", 4, 0) + b"key\0text"
APE_SIZE = struct.pack("<III", 2000, 32 + len(APE_ITEMS), 1)
APE_FOOTER = b"APETAGEX" + APE_SIZE + struct.pack("<I8x", 0x80000000)
APE = b"APETAGEX" + APE_SIZE + struct.pack("<I8x", 0xA0000000) + APE_ITEMS + APE_FOOTER
LYRICS = b"LYRICSBEGIN" + b"IND0000210" + b"000021LYRICS200"
TAILS = {
    "ID3v1": ID3V1,
    "APE": APE,
    "APE without header": APE_ITEMS + APE_FOOTER,
    "APE and ID3v1": APE + ID3V1,
    "headless APE and ID3v1": APE_ITEMS + APE_FOOTER + ID3V1,
    "Lyrics3 and ID3v1": LYRICS + ID3V1,
    "ID3v2": ID3V2,
    "zeros": b"\0" * 3000,
}


def cbr_mp3(seconds: float = 1.0) -> bytes:
    """Return an MP3 of constant bitrate as sox or a radio writes it: no header frame with its length."""
    place = io.BytesIO()
    with soundfile.SoundFile(
        place, "w", RATE, 1, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=0.5
    ) as f:
        f.write(wave(seconds))
    data = place.getvalue()
    size, _ = streams._mpeg_frame(data[:4], 0)
    assert b"Info" in data[:size] or b"Xing" in data[:size]
    return data[size:]


MP3S = {"with its length": FILES.get("MP3 MPEG_LAYER_III 1", b""), "without": cbr_mp3()}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("name", ["OGG VORBIS 1", "OGG OPUS 2", "FLAC PCM_16 1", "WAV PCM_16 1", "WAV PCM_24 2", *MP3S])
def test_tags_and_padding_behind_the_audio_change_nothing(name, tail):
    data = MP3S.get(name) or FILES[name]
    assert outcome(data + TAILS[tail]) == outcome(data) is not None
    assert outcome(data + TAILS[tail][:20]) in (None, outcome(data))
    if "WAV" not in name and name != "without":  # those lengths are in bytes, which tags and padding have too
        assert outcome(data[:-700] + TAILS[tail]) is None


@pytest.mark.parametrize("name", [*MP3S, "FLAC PCM_16 1"])
def test_id3_tags_before_the_audio_change_nothing(name):
    data = MP3S.get(name) or FILES[name]
    assert outcome(ID3V2 + data) == outcome(data) is not None
    assert outcome(ID3V2 + ID3V2 + data) == (outcome(data) if name in MP3S else None)  # libsndfile skips one
    assert all(outcome((ID3V2 + data)[:cut]) is None for cut in cuts(data))


def test_an_id3_tag_before_anything_else_is_refused_as_libsndfile_would_lose_the_end():
    for name in ("WAV PCM_16 1", "WAV PCM_24 1", "OGG VORBIS 1"):
        with pytest.raises(AudioError, match="ID3 tag"):
            read_audio(ID3V2 + FILES[name], rate_hz=RATE)


def test_an_mp3_without_a_length_has_the_length_of_its_frames():
    data = cbr_mp3(2.0)
    samples = len(read_audio(data, rate_hz=RATE))
    assert samples % 576 == 0 and abs(samples - 2 * RATE) < 3 * 1152
    for size in range(1, 200, 13):
        assert outcome(data[:-size]) is None
    with pytest.raises(AudioError, match="last frame"):
        read_audio(data[:-5], rate_hz=RATE)


def test_an_mp3_with_fewer_frames_than_it_announces_is_refused_even_cut_between_two():
    data = FILES["MP3 MPEG_LAYER_III 1"]
    starts, position = [], 0
    while position < len(data):
        starts.append(position)
        position += streams._mpeg_frame(data[position : position + 4], 0)[0]
    assert position == len(data)
    for start in starts[1:]:
        assert outcome(data[:start]) is None


def test_bytes_between_the_frames_of_an_mp3_are_refused():
    data = cbr_mp3()
    for junk in (b"junk" * 25, b"\xff" * 50, ID3V1[:100]):
        middle = streams._mpeg_frame(data[:4], 0)[0] * 10
        assert outcome(data[:middle] + junk + data[middle:]) is None


@pytest.mark.parametrize("name", [*MP3S, "WAV PCM_16 1", "WAV PCM_24 1", "OGG VORBIS 1", "OGG OPUS 1"])
def test_joined_recordings_are_refused_where_only_the_first_would_be_read(name):
    data = MP3S.get(name) or FILES[name]
    again = data.replace(data[14:18], b"abcd") if data[:4] == b"OggS" else data
    if name == "without":  # frames behind frames: nobody can tell, and all are read
        assert check_audio(data + data).num_samples == 2 * check_audio(data).num_samples
        data, again = ID3V2 + data, ID3V2 + data
    with pytest.raises(AudioError, match=r"several|checksum"):
        read_audio(data + again, rate_hz=RATE)
    with pytest.raises(AudioError, match=r"several|checksum"):
        read_audio(data + ID3V1 + again if "OGG" not in name and "WAV" not in name else data + again, rate_hz=RATE)


def test_a_page_of_an_ogg_that_is_damaged_missing_or_repeated_is_named():
    data = FILES["OGG VORBIS 1"]
    pages, position = [], 0
    while position < len(data):
        size = 27 + data[position + 26] + sum(data[position + 27 : position + 27 + data[position + 26]])
        pages.append(data[position : position + size])
        position += size
    assert len(pages) > 3
    flipped = bytearray(data)
    flipped[len(data) - len(pages[-1]) - 9] ^= 4
    for changed, message in (
        (bytes(flipped), "checksum"),
        (b"".join(pages[:2] + pages[3:]), "lacks pages"),
        (b"".join([*pages[:3], pages[2], *pages[3:]]), "lacks pages"),
        (b"".join(pages[:-1]), "must end with a page marked as the last"),
        (data[:-10], "is cut"),
        (data + b"what is this", "not a tag"),
        (data + pages[0], "several"),
    ):
        with pytest.raises(AudioError, match=message):
            read_audio(changed, rate_hz=RATE)


def test_oggs_checksum_is_that_of_rfc_3533():
    # worked by hand: polynomial 0x04c11db7, no reflection, start 0
    def slow(page: bytes) -> int:
        value = 0
        for byte in page[:22] + bytes(4) + page[26:]:
            value ^= byte << 24
            for _ in range(8):
                value = value << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if value & 0x80000000 else 0)
        return value

    page = b"OggS" + bytes(range(200))
    assert streams._ogg_checksum(page) == slow(page)


def test_an_ogg_or_mp3_is_walked_once_for_every_version_of_the_file(tmp_path, monkeypatch):
    walked = []
    walk = streams._walk_ogg
    monkeypatch.setattr(streams, "_walk_ogg", lambda window, where: walked.append(1) or walk(window, where))
    place = tmp_path / "clip.ogg"
    place.write_bytes(FILES["OGG VORBIS 1"])
    for _ in range(3):
        read_audio(place, rate_hz=RATE, offset_s=0.2, duration_s=0.1)
    assert len(walked) == 1
    place.write_bytes(FILES["OGG VORBIS 1"][:-9])
    for number in (2, 3):  # a broken file is not remembered as whole
        with pytest.raises(AudioError, match="cut"):
            read_audio(place, rate_hz=RATE)
        assert len(walked) == number


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


EIGHT_BIT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, RATE, 1, 8))
SAMPLES = bytes(range(1, 256))


def test_odd_chunks_lists_before_and_behind_and_a_missing_pad_byte_are_whole_files():
    info = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 3) + b"abc\0")
    plain = outcome(riff(EIGHT_BIT, chunk(b"data", SAMPLES)))
    assert plain is not None and plain[0] == 255
    for data in (
        riff(EIGHT_BIT, chunk(b"data", SAMPLES))[:-1],
        riff(EIGHT_BIT, chunk(b"data", SAMPLES), info),
        riff(chunk(b"junk", b"abc"), info, EIGHT_BIT, chunk(b"fact", b"\xff\0\0\0"), chunk(b"data", SAMPLES), info)[
            :-9
        ],
    ):
        assert outcome(data) == plain


STREAMED = {
    "WAV, 32 bits of ones": lambda: (FILES["WAV PCM_24 1"], b"data", b"\xff\xff\xff\xff"),
    "WAV, zero": lambda: (FILES["WAV PCM_24 1"], b"data", bytes(4)),
    "16-bit WAV, 32 bits of ones": lambda: (FILES["WAV PCM_16 1"], b"data", b"\xff\xff\xff\xff"),
    "16-bit WAV, zero": lambda: (FILES["WAV PCM_16 1"], b"data", bytes(4)),
    "WAV of sox": lambda: (FILES["WAV ULAW 1"], b"data", struct.pack("<I", 0x7FFFFFFF - 36)),
    "AIFF": lambda: (FILES["AIFF PCM_16 1"], b"SSND", bytes(4)),
    "AIFF of sox": lambda: (FILES["AIFF PCM_16 1"], b"SSND", struct.pack(">I", 0x7F000008)),
    "CAF": lambda: (FILES["CAF PCM_16 1"], b"data", b"\xff" * 8),
    "AU": lambda: (FILES["AU PCM_16 1"], FILES["AU PCM_16 1"][:8], b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", STREAMED)
def test_files_streamed_without_a_length_are_refused_with_a_cure(name):
    data, mark, size = STREAMED[name]()
    place = data.index(mark) + len(mark)
    with pytest.raises(AudioError, match="encode it again") as caught:
        read_audio(data[:place] + size + data[place + len(size) :], rate_hz=RATE)
    assert caught.value.field == "num_samples"


def test_a_flac_without_a_length_is_refused_with_a_cure():
    data = bytearray(FILES["FLAC PCM_16 1"])
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    with pytest.raises(AudioError, match="how many samples there are"):
        read_audio(bytes(data), rate_hz=RATE, max_duration_s=float("inf"))


@pytest.mark.parametrize("name", ["NIST PCM_16 1", "W64 PCM_16 2", "AU PCM_16 1"])
def test_bytes_behind_the_announced_samples_are_not_samples(name):
    assert outcome(FILES[name] + ID3V1) == outcome(FILES[name]) is not None


def test_a_sphere_without_a_count_is_refused():
    data = FILES["NIST PCM_16 1"].replace(b"sample_count", b"sample_cound")
    with pytest.raises(AudioError, match="sample_count"):
        read_audio(data, rate_hz=RATE)


@pytest.mark.parametrize("head", [b"RIFF\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF", b"caff\0\1\0\0"])
def test_a_million_empty_chunks_are_given_up(head):
    with pytest.raises(AudioError, match="no chunk of samples"):
        read_audio(head + b"\0" * (12 << 20), rate_hz=RATE)


def test_every_real_recording_is_read(shared_data):
    """Samples compared with those of libsndfile, bit by bit, on a tenth of all clips."""
    places = sorted(p for p in shared_data.rglob("*.flac"))[::10]
    assert len(places) > 600
    for place in places:
        expected, rate = soundfile.read(place, dtype="float32")
        assert np.array_equal(read_audio(place, rate_hz=rate), expected)
