"""Compare the length that an audio file announces with the bytes it holds: a truncated file is not a shorter clip.

libsndfile decodes a truncated file as if it were complete, so every container is walked here before it is decoded.
Formats that do not state their length (IRCAM, PVF, PAF, ...) are refused: nobody can tell whether they are whole. Only
a CBR MP3 without a Xing, Info or VBRI header that was cut exactly between two frames goes unnoticed.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from sonolex.audio.errors import Where
from sonolex.audio.sources import Encoded
from sonolex.audio.streams import check_ogg, count_mpeg, skip_id3v2

MOST_CHUNKS = 1_000  # before the samples; recorders write up to a few dozen
UNKNOWN = 0xFFFFFFFF  # the length of a file that was written to a pipe
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # ends the names of all Wave64 chunks but the first
PLAIN = {(1, 16): np.dtype("<i2"), (3, 32): np.dtype("<f4")}  # by a WAV's format code and bits per sample
FORMATS = "WAV, RF64, W64, AIFF, AU, CAF, SPHERE, FLAC, OGG (Vorbis or Opus) or MP3"
SUFFIXES = (  # by which recordings are found in folders; the content decides the format
    ".wav", ".wave", ".rf64", ".w64", ".aif", ".aiff", ".au", ".caf", ".sph", ".flac", ".ogg", ".oga", ".opus", ".mp3",
)  # fmt: skip


class PcmSamples(NamedTuple):
    """Samples that need no decoder: where they start, their number type and shape."""

    start: int
    kind: np.dtype
    rate_hz: int
    num_channels: int
    num_samples: int


def check_container(encoded: Encoded, where: Where) -> PcmSamples | int | None:
    """Check that a file holds everything its header announces.

    Returns:
        the samples of a plain WAV (16-bit integers or 32-bit floats); the number of samples per channel where
        libsndfile would take it from the size of the file, tags included; None where libsndfile reads it correctly.

    Raises:
        AudioError: no format of `FORMATS`, truncated, of unknown length, several recordings in one file.
    """
    head = encoded.at(0, 16)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return _check_riff(encoded, where)
    if head[:4] == b"riff" and head[4:16] == bytes.fromhex("2e91cf11a5d628db04c10000"):
        return _check_w64(encoded, where)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _check_aiff(encoded, where)
    if head[:4] in (b".snd", b"dns."):
        return _check_au(encoded, where)
    if head[:4] == b"caff":
        return _check_caf(encoded, where)
    if head[:7] == b"NIST_1A":
        return _check_sphere(encoded, where)
    if head[:4] == b"OggS":
        return check_ogg(encoded, where)
    start = skip_id3v2(encoded, 0)
    head = encoded.at(start, 4)
    if head == b"fLaC":
        return _check_flac(encoded, start, where)
    if len(head) == 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return count_mpeg(encoded, start, where)
    raise where.error(
        f"audio must be {FORMATS}, but cannot be opened: "
        + ("its ID3 tag is followed by neither MP3 nor FLAC" if start else "its first bytes match none of them"),
        "audio",
        "Convert the file, for example with: ffmpeg -i FILE FILE.flac",
    )


def _require(announced: int, start: int, encoded: Encoded, where: Where) -> None:
    """Raise AudioError unless the bytes of samples that a header announces are there."""
    if announced <= 0:
        raise where.error(
            "audio must hold samples, but its header says that it holds 0",
            "num_samples",
            "If the file is larger than its header, the recorder did not finish it: encode it again. Else remove it.",
        )
    if announced == UNKNOWN or announced >= 1 << 62:
        raise where.error(
            "audio must say how many bytes of samples it holds, but its header announces an unknown number",
            "num_samples",
            "It was streamed without a length, and nobody can tell whether it is whole: encode it again "
            "(ffmpeg -i FILE NEW.flac).",
        )
    if start + announced > encoded.size:
        raise where.error(
            f"audio must hold the {announced} bytes of samples its header announces, but holds "
            f"{max(0, encoded.size - start)}",
            "num_samples",
            "The file is truncated, or was streamed without a length: copy or encode it again.",
        )


def _damaged(what: str, where: Where):
    return where.error(
        f"audio must be a whole file, but {what}", "audio", "The file is truncated or damaged: copy or encode it again."
    )


def _check_riff(encoded: Encoded, where: Where) -> PcmSamples | None:
    """WAV, its big-endian form RIFX, and RF64, whose lengths of 64 bits are in the chunk ``ds64``."""
    big = encoded.at(0, 4) == b"RIFX"
    order = "big" if big else "little"
    position, pcm, long_size = 12, None, None
    for _ in range(MOST_CHUNKS):
        head = encoded.at(position, 8)
        if len(head) < 8:
            raise _damaged("has no chunk of samples", where)
        name, size, body = head[:4], int.from_bytes(head[4:], order), position + 8
        if name == b"fmt " and size >= 16 and not big:
            pcm = _plain_pcm(encoded.at(body, 16))
        elif name == b"ds64" and size >= 16:
            long_size = int.from_bytes(encoded.at(body + 8, 8), "little")
        elif name == b"data":
            if size == UNKNOWN and long_size is not None:
                size = long_size
            _require(size, body, encoded, where)
            end = body + size + (size & 1)
            if end < encoded.size and encoded.at(end, 4) == b"RIFF" and encoded.at(end + 8, 4) == b"WAVE":
                raise where.error(
                    "audio must be one recording, but is several WAV files, one after the other",
                    "audio",
                    "Split the file, or join the recordings with: sox FIRST SECOND JOINED.wav",
                )
            if pcm is None or long_size is not None:
                return None
            kind, rate_hz, num_channels = pcm
            return PcmSamples(body, kind, rate_hz, num_channels, size // (kind.itemsize * num_channels))
        position = body + size + (size & 1)
    raise _damaged(f"has no chunk of samples among its first {MOST_CHUNKS:,}", where)


def _plain_pcm(fmt: bytes) -> tuple[np.dtype, int, int] | None:
    """Return number type, rate and channels of 16-bit PCM or 32-bit float; None leaves the rest to libsndfile."""
    if len(fmt) < 16:
        return None
    code, channels, rate_hz, _, align, bits = struct.unpack("<HHIIHH", fmt)
    kind = PLAIN.get((code, bits))
    return (kind, rate_hz, channels) if kind is not None and align == channels * kind.itemsize and channels else None


def _check_w64(encoded: Encoded, where: Where) -> int | None:
    """Sony Wave64: names of 16 bytes, lengths of 64 bits that count their own header, chunks at multiples of 8."""
    position, frame = 40, 0
    for _ in range(MOST_CHUNKS):
        head = encoded.at(position, 24)
        size = int.from_bytes(head[16:], "little")
        if len(head) < 24 or size < 24:
            raise _damaged("has no chunk of samples", where)
        if head[:16] == b"fmt " + W64_TAIL:
            code, channels, _, _, align, bits = struct.unpack("<HHIIHH", encoded.at(position + 24, 16).ljust(16, b"\0"))
            frame = align if code in (1, 3, 6, 7) and align * 8 == channels * bits else 0  # samples, not packets
        if head[:16] == b"data" + W64_TAIL:
            _require(size - 24, position + 24, encoded, where)
            return (size - 24) // frame if frame else None
        position += (size + 7) & ~7
    raise _damaged(f"has no chunk of samples among its first {MOST_CHUNKS:,}", where)


def _check_aiff(encoded: Encoded, where: Where) -> int | None:
    """AIFF and AIFF-C: ``SSND`` holds the samples, ``COMM`` their number."""
    position, num_samples, frame, num_bytes = 12, None, 0, None
    for _ in range(MOST_CHUNKS):
        head = encoded.at(position, 8)
        if len(head) < 8 or (num_samples is not None and num_bytes is not None):
            break
        name, size, body = head[:4], int.from_bytes(head[4:], "big"), position + 8
        if name == b"COMM" and size >= 18:
            channels, num_samples, bits = struct.unpack(">HIH", encoded.at(body, 8).ljust(8, b"\0"))
            plain = encoded.at(8, 4) == b"AIFF" or encoded.at(body + 18, 4) in (b"NONE", b"sowt", b"twos", b"raw ")
            frame = channels * ((bits + 7) // 8) if plain else 0
        elif name == b"SSND":
            _require(size - 8, body + 8, encoded, where)
            num_bytes = size - 8
        position = body + size + (size & 1)
    if num_bytes is None:
        raise _damaged("has no chunk of samples", where)
    if num_samples is None or not frame:
        return None
    if num_samples * frame > num_bytes:
        raise where.error(
            f"audio must hold the {num_samples * frame} bytes of samples its header announces, but holds {num_bytes}",
            "num_samples",
            "The file is truncated or damaged: copy or encode it again.",
        )
    return num_samples


def _check_au(encoded: Encoded, where: Where) -> None:
    order = "<" if encoded.at(0, 4) == b"dns." else ">"
    start, size = struct.unpack(f"{order}4xII", encoded.at(0, 12).ljust(12, b"\0"))
    _require(size, start, encoded, where)


def _check_caf(encoded: Encoded, where: Where) -> None:
    """Apple's CAF: lengths of 64 bits, -1 where a recorder did not finish."""
    position = 8
    for _ in range(MOST_CHUNKS):
        head = encoded.at(position, 12)
        if len(head) < 12:
            raise _damaged("has no chunk of samples", where)
        size = int.from_bytes(head[4:], "big")
        if head[:4] == b"data":
            return _require(size, position + 12, encoded, where)
        position += 12 + size
    raise _damaged(f"has no chunk of samples among its first {MOST_CHUNKS:,}", where)


def _check_sphere(encoded: Encoded, where: Where) -> int:
    """NIST SPHERE: a header of text, such as ``sample_count -i 48000``, whose length is in its second line."""
    header = encoded.at(0, 16 << 10)
    start = int(header[8:16]) if header[8:16].strip().isdigit() else 1024
    fields = {}
    for line in header[:start].split(b"\n"):
        words = line.split()
        if len(words) == 3 and words[1] == b"-i" and words[2].isdigit() and len(words[2]) < 16:
            fields[words[0]] = int(words[2])
    if b"sample_count" not in fields:
        raise where.error(
            "a SPHERE header must say sample_count, but does not",
            "num_samples",
            "It was streamed without a length: encode it again, for example with: sox FILE FILE.flac",
        )
    frame = fields.get(b"channel_count", 1) * fields.get(b"sample_n_bytes", 1)
    _require(fields[b"sample_count"] * frame, start, encoded, where)
    return fields[b"sample_count"]


def _check_flac(encoded: Encoded, start: int, where: Where) -> None:
    """Require an announced number of samples; the decoder itself checks it, and the frames and checksums."""
    info = encoded.at(start + 8, 18)
    if len(info) < 18 or encoded.at(start + 4, 1)[0] & 0x7F:
        raise _damaged("does not begin with its stream's description", where)
    if int.from_bytes(info[10:18], "big") & 0xFFFFFFFFF == 0:
        raise where.error(
            "a FLAC header must say how many samples there are, but does not",
            "num_samples",
            "It was streamed without a length, and nobody can tell whether it is whole: encode it again "
            "(ffmpeg -i FILE NEW.flac).",
        )
