"""Streams without a table of contents, walked from the first page or frame to the last: OGG and MPEG (MP3).

Both decoders silently skip damaged or missing parts and report a shorter recording. Walking costs about a
millisecond per minute of audio, once for every version of a file.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from sonolex.audio.errors import AudioError, Where
from sonolex.audio.sources import Encoded, FileIdentity

MOST_WALKED_BYTES = 4 << 30  # of OGG and MP3: 37 hours at 256 kbit/s
MOST_TAGS = 1000  # and runs of padding behind the last page or frame
MOST_TAIL_BYTES = 64 << 20  # of all of them: album covers
MOST_FREE_BYTES = 16 << 10  # between frames without a stated bitrate: 640 kbit/s at 8 kHz is 5,760
MOST_REMEMBERED = 4096  # files known to be whole; excerpts of a long one are then read without walking it again
WINDOW_BYTES = 1 << 20
CURE = "The file is truncated or damaged: copy it, or encode it again."

_REMEMBERED: dict[FileIdentity, int | None] = {}


def _once(walk: Callable[[], int | None], encoded: Encoded, where: Where) -> int | None:
    """Return the result of walking a file, from memory if this version of it was walked before."""
    if encoded.identity is not None and encoded.identity in _REMEMBERED:
        return _REMEMBERED[encoded.identity]
    if encoded.size > MOST_WALKED_BYTES:
        raise where.error(
            f"an OGG or MP3 file must have at most {MOST_WALKED_BYTES:,} bytes, but has {encoded.size:,}",
            "audio",
            "Cut the recording into files, or encode it as FLAC.",
        )
    num_samples = walk()
    if encoded.identity is not None:
        if len(_REMEMBERED) >= MOST_REMEMBERED:
            _REMEMBERED.clear()
        _REMEMBERED[encoded.identity] = num_samples
    return num_samples


class _Window:
    """Bytes of a file by position, read a mebibyte at a time."""

    def __init__(self, encoded: Encoded):
        self.encoded, self.size, self.start, self.piece = encoded, encoded.size, 0, b""

    def at(self, position: int, count: int) -> bytes:
        inner = position - self.start
        if inner < 0 or inner + count > len(self.piece):
            self.start, self.piece = position, self.encoded.at(position, max(count, WINDOW_BYTES))
            inner = 0
        return self.piece[inner : inner + count]


def check_ogg(encoded: Encoded, where: Where) -> None:
    """Check every page of an OGG file: checksums, order, one stream from its beginning to its marked end.

    Raises:
        AudioError: pages damaged, missing or cut; no end of the stream; several streams.
    """
    _once(lambda: _walk_ogg(_Window(encoded), where), encoded, where)


def _walk_ogg(window: _Window, where: Where) -> None:
    position, number, sequence, stream, ended = 0, 0, 0, None, False
    while (head := window.at(position, 27))[:4] == b"OggS":
        segments = window.at(position + 27, head[26]) if len(head) == 27 else b""
        size = 27 + len(segments) + sum(segments)
        page = window.at(position, size)
        if len(head) < 27 or len(segments) < head[26] or len(page) < size:
            raise _broken(f"page {number} of the OGG stream is cut at byte {window.size:,}", where)
        if ended or (stream is not None and page[14:18] != stream):
            raise where.error(
                "an OGG file must hold one stream, but holds several",
                "audio",
                "Only the first would be read: join or split them, for example with: ffmpeg -i FILE NEW.flac",
            )
        if _ogg_checksum(page) != int.from_bytes(page[22:26], "little"):
            raise _broken(f"page {number} of the OGG stream does not match its checksum", where)
        if number and int.from_bytes(page[18:22], "little") != (sequence + 1) & 0xFFFFFFFF:
            raise _broken(f"the OGG stream lacks pages before page {number}", where)
        sequence = int.from_bytes(page[18:22], "little")
        stream, ended = page[14:18], bool(page[5] & 4)
        position, number = position + size, number + 1
    if not ended:
        raise where.error(
            f"an OGG stream must end with a page marked as the last, but page {number - 1} is not",
            "num_samples",
            f"{CURE} If it is whole, write its pages again: ffmpeg -i FILE -c copy NEW",
        )
    if _end_of_tags(window, position) < window.size:
        raise _broken(f"the bytes after the OGG stream, from {position:,} on, are not a tag", where)


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_checksum(page: bytes) -> int:
    """Return OGG's checksum (RFC 3533): zlib's polynomial with the bits the other way round, starting from zero."""
    blank = (page[:22] + b"\0\0\0\0" + page[26:]).translate(_REVERSED)
    mirrored = zlib.crc32(blank, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")


def skip_id3v2(encoded: Encoded | _Window, position: int) -> int:
    """Return where ID3v2 tags at ``position``, and zeros behind them, end."""
    start = position
    while (head := encoded.at(position, 10))[:3] == b"ID3" and len(head) == 10 and max(head[6:10]) < 0x80:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        position += 10 + size + (10 if head[5] & 0x10 else 0)
    if position > start:
        padding = encoded.at(position, WINDOW_BYTES)
        position += len(padding) - len(padding.lstrip(b"\0"))
    return position


def count_mpeg(encoded: Encoded, start: int, where: Where) -> int | None:
    """Walk the frames of an MP3 (MPEG audio, layers I to III), the first at ``start``.

    Returns:
        samples per channel; None if a Xing, Info or VBRI header gives the number, which the decoder reads itself.

    Raises:
        AudioError: the last frame is cut, frames are missing, or other bytes lie between frames.
    """
    return _once(lambda: _walk_mpeg(_Window(encoded), start, where), encoded, where)


def _walk_mpeg(window: _Window, start: int, where: Where) -> int | None:
    first = window.at(start, 4)
    free_size = _free_format_size(window, start, first)
    sizes: dict[bytes, tuple[int, int]] = {}  # frame headers repeat: a dozen of them in a file
    position, num_frames, num_samples = start, 0, 0
    while len(head := window.at(position, 4)) == 4 and head[0] == 0xFF:
        key = head[1:3]
        if key not in sizes:
            same_stream = not ((key[0] ^ first[1]) & 0xFE or (key[1] ^ first[2]) & 0x0C)  # version, layer, rate
            sizes[key] = _mpeg_frame(head, free_size) if same_stream else (0, 0)
        size, samples = sizes[key]
        if not size or position + size > window.size:
            break
        position, num_frames, num_samples = position + size, num_frames + 1, num_samples + samples
    announced = _announced_frames(window.at(start, 256), first)
    if announced is None:
        _check_mpeg_end(window, position, where)
        return num_samples
    num_frames -= 1  # the header is a frame of its own, without sound
    if num_frames < announced - 1:  # some encoders count it; the decoder knows to the sample
        raise _broken(f"an MP3 that announces {announced} frames holds {max(0, num_frames)}", where)
    if num_frames > announced + 1 or _is_mpeg(window, _end_of_tags(window, position)):
        raise _joined(where)
    return None


def _check_mpeg_end(window: _Window, position: int, where: Where) -> None:
    """Raise AudioError unless the frames of an MP3 end at ``position`` because there are no more."""
    end = _end_of_tags(window, position)
    if end == window.size:
        return
    if end > position and _is_mpeg(window, end):
        raise _joined(where)
    if _mpeg_frame(window.at(end, 4).ljust(4, b"\x10"), 1)[0]:
        raise _broken(f"an MP3's last frame, at byte {end:,}, is cut", where)
    raise _broken(f"the bytes after an MP3's frames, from {end:,} on, are neither a frame nor a tag", where)


def _is_mpeg(window: _Window, position: int) -> bool:
    """True if two frames follow each other at ``position``."""
    for _ in range(2):
        size, _ = _mpeg_frame(window.at(position, 4), 0)
        if not size:
            return False
        position += size
    return True


# kbit/s by the index in a frame header: MPEG 1 layers I, II, III, MPEG 2 and 2.5 layer I, layers II and III
_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _mpeg_frame(head: bytes, free_size: int) -> tuple[int, int]:
    """Return bytes and samples of the frame with this header, (0, 0) if it is not one (ISO 11172-3, 13818-3).

    ``free_size`` is the size, without padding, of frames whose header states no bitrate.
    """
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0, 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbit, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or kbit == 15 or rate == 3:
        return 0, 0
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    padding *= 4 if layer == 1 else 1
    if kbit == 0:
        return (free_size + padding if free_size else 0), samples
    bits_per_s = 1000 * _KBITS[1 if version == 3 else 2, layer][kbit - 1]
    if layer == 1:
        return 12 * bits_per_s // _RATES_HZ[version][rate] * 4 + padding, samples
    return samples // 8 * bits_per_s // _RATES_HZ[version][rate] + padding, samples


def _free_format_size(window: _Window, start: int, first: bytes) -> int:
    """Return the size of frames without a stated bitrate, measured up to the second one; 0 for other frames."""
    if first[2] >> 4:
        return 0
    same = re.compile(re.escape(first[:2]) + bytes([0x5B, first[2] & 0xFD, first[2] | 2, 0x5D]), re.DOTALL)
    second = same.search(window.at(start, MOST_FREE_BYTES), 4)
    padding = (4 if first[1] >> 1 & 3 == 3 else 1) if first[2] & 2 else 0
    return second.start() - padding if second else 0


def _announced_frames(frame: bytes, first: bytes) -> int | None:
    """Return the number of frames in a Xing, Info or VBRI header; None if the first frame is none of those."""
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big")
    side = (17 if first[3] >> 6 == 3 else 32) if first[1] & 8 else (9 if first[3] >> 6 == 3 else 17)
    for position in (4 + side, 6 + side):  # the second behind a checksum
        if frame[position : position + 4] in (b"Xing", b"Info") and frame[position + 7] & 1:
            return int.from_bytes(frame[position + 8 : position + 12], "big")
    return None


def _end_of_tags(window: _Window, position: int) -> int:
    """Return where the tags (ID3, APE, Lyrics3) and zeros at ``position`` end; ``position`` if they are too long."""
    if window.size - position > MOST_TAIL_BYTES:
        return position
    for _ in range(MOST_TAGS):
        head = window.at(position, 32)
        if head[:3] == b"TAG":
            position += 128
        elif head[:8] == b"APETAGEX":
            position += 32 + int.from_bytes(head[12:16], "little")
        elif head[:11] == b"LYRICSBEGIN":
            match = re.search(b"LYRICS200|LYRICSEND", window.at(position, WINDOW_BYTES))
            position = position + match.end() if match else window.size
        elif head[:3] == b"ID3" and (end := skip_id3v2(window, position)) > position:
            position = end
        elif head[:1] == b"\0":
            zeros = window.at(position, WINDOW_BYTES)
            position += len(zeros) - len(zeros.lstrip(b"\0"))
        elif (end := _end_of_headless_ape(window, position)) > position:
            position = end
        else:
            break
    return min(position, window.size)


def _end_of_headless_ape(window: _Window, position: int) -> int:
    """Return where an APE tag that has only a footer, and an ID3v1 tag behind it or none, ends; else ``position``."""
    for end in (window.size, window.size - 128):
        footer = window.at(max(0, end - 32), 32)
        if footer[:8] == b"APETAGEX" and end - int.from_bytes(footer[12:16], "little") == position:
            return end
    return position


def _broken(what: str, where: Where) -> AudioError:
    return where.error(f"audio must be whole, but {what}", "num_samples", CURE)


def _joined(where: Where) -> AudioError:
    return where.error(
        "an MP3 must hold one recording, but holds several, one after the other",
        "audio",
        "Only the first would be read: split the file, or encode it again, for example with ffmpeg.",
    )
