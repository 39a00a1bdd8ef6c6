"""Decode, check and resample audio. The only file that opens audio.

WAV, FLAC, OGG, MP3 and Opus, and a few more, through libsndfile; plain PCM WAV by a direct parse (about six times
faster). Nothing is repaired silently: whatever cannot be trusted raises `AudioError` with the clip, the file, the field
and the cure. Limits are checked before reading and decoding (here and in sonolex.audio.sources), and a file that is
shorter than its header announces is refused, not read as a shorter clip (sonolex.audio.containers).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sonolex.audio.containers import FORMATS, PcmSamples, check_container
from sonolex.audio.errors import AudioError, Where
from sonolex.audio.samples import checked_mono, joined, resampled
from sonolex.audio.sources import BoundedReader, Encoded, held, open_encoded

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 384_000
MAX_CHANNELS = 64
MAX_DURATION_S = 3_600.0
# One mono excerpt in memory, 2 GiB of float32: 9 h at 16 kHz, 3 h at 48 kHz. A FLAC of 1 MB may hold as much silence.
MOST_SAMPLES = 1 << 29
MOST_DECODED_SAMPLES = 1 << 32  # of all channels together: 25 h of 48 kHz mono, a minute of decoding
MOST_SAMPLES_PER_BYTE = 256  # of files above 2^28 samples: 10 is much for FLAC, 128 is stereo Opus of 6 kbit/s
SEEK_BYTES = 64 << 20  # read at most to find where an excerpt starts
BLOCK_SAMPLES = 1 << 20  # of all channels, decoded at a time and mixed down: memory is the mono excerpt and a block
MPEG_FRAME_SAMPLES = 1_152

__all__ = [
    "AudioError",
    "AudioInfo",
    "AudioSource",
    "CheckedAudio",
    "check_audio",
    "describe_source",
    "probe_audio",
    "read_audio",
    "read_encoded",
]

AudioSource = str | Path | bytes | BinaryIO | tuple[np.ndarray, int]


@dataclass(frozen=True)
class AudioInfo:
    """The contents of a header: rate in Hz, number of channels, samples per channel, duration in seconds."""

    rate_hz: int
    num_channels: int
    num_samples: int

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.rate_hz


@dataclass(frozen=True)
class CheckedAudio:
    """A clip decoded to its end: the file's header, the number of the clip's samples, and a digest of them.

    ``digest`` is 32 hexadecimal digits over the rate and the mono float32 samples: tags and the lossless container do
    not change it, other audio does. ``num_samples`` is per channel, at the file's own rate.
    """

    info: AudioInfo
    num_samples: int
    digest: str

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.info.rate_hz


def read_audio(
    source: AudioSource,
    *,
    rate_hz: int,
    clip_id: str = "",
    offset_s: float = 0.0,
    duration_s: float | None = None,
    max_duration_s: float = MAX_DURATION_S,
) -> np.ndarray:
    """Return mono float32 samples (S,) at ``rate_hz``, full scale ±1.

    Args:
        source: a path, a ``file://`` address (others: sonolex.audio.addresses), encoded bytes, a binary file object,
            or ``(array, rate)`` with an array (samples,) or (samples, channels). Of a file on disk only the excerpt
            is read and decoded.
        offset_s, duration_s: the excerpt to read; None reads to the end.
        max_duration_s: longer excerpts are refused before they are decoded.

    Raises:
        AudioError: missing, empty, truncated or foreign files, pipes and devices, no samples, NaN or infinite samples,
            rates outside 1–384 kHz, more than 64 channels, headers that lie about length, too long.
    """
    where = Where(clip_id, describe_source(source))
    with _opened(source, where) as (info, num_bytes, blocks):
        start, stop = _excerpt(info, offset_s, duration_s, max_duration_s, where)
        _require_readable(stop - start, info, num_bytes, rate_hz, where)
        wave_S = joined(checked_mono(blocks(start, stop), start, where), stop - start, where)
    return resampled(wave_S, info.rate_hz, rate_hz)


def check_audio(
    source: AudioSource,
    *,
    clip_id: str = "",
    offset_s: float | None = None,
    duration_s: float | None = None,
    max_duration_s: float = MAX_DURATION_S,
    rate_hz: int | None = None,
) -> CheckedAudio:
    """Decode a clip to its end, block by block, and return its header, length and digest.

    Memory does not grow with the clip's length. Decoding and hashing release the interpreter's lock: several threads
    check several clips at once.

    Args:
        rate_hz: the rate it will be read at; None: its own.

    Raises:
        AudioError: as `read_audio` with the same arguments.
    """
    where = Where(clip_id, describe_source(source))
    with _opened(source, where) as (info, num_bytes, blocks):
        start, stop = _excerpt(info, offset_s or 0.0, duration_s, max_duration_s, where)
        _require_readable(stop - start, info, num_bytes, rate_hz or info.rate_hz, where)
        digest = hashlib.blake2b(info.rate_hz.to_bytes(4, "little"), digest_size=16)
        for block_S in checked_mono(blocks(start, stop), start, where):
            digest.update(np.ascontiguousarray(block_S).data)
    return CheckedAudio(info, stop - start, digest.hexdigest())


def probe_audio(source: AudioSource, *, clip_id: str = "") -> AudioInfo:
    """Return the contents of the header after the checks that need no decoding.

    Raises:
        AudioError: as `read_audio`, for everything a header shows.
    """
    with _opened(source, Where(clip_id, describe_source(source))) as (info, _, _):
        return info


def read_encoded(source: str | Path | bytes | BinaryIO, *, clip_id: str = "") -> bytes:
    """Return the encoded file behind a source, undecoded. Raises AudioError if it is missing or empty."""
    where = Where(clip_id, describe_source(source))
    encoded = open_encoded(source, where)
    try:
        return held(encoded, where)
    finally:
        encoded.close()


def describe_source(source: AudioSource) -> str:
    """Return a short name of a source for messages."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, tuple):
        return "<array>"
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    return str(getattr(source, "name", "<file object>"))


Blocks = Callable[[int, int], Iterator[np.ndarray]]


@contextmanager
def _opened(source: AudioSource, where: Where) -> Iterator[tuple[AudioInfo, int, Blocks]]:
    """Context: the header, the encoded size, and a function that yields samples (S, C) from … to …."""
    if isinstance(source, tuple):
        wave_SC, rate_hz = _checked_array(source, where)
        yield AudioInfo(rate_hz, wave_SC.shape[1], len(wave_SC)), wave_SC.nbytes, partial(_array_blocks, wave_SC)
        return
    encoded = open_encoded(source, where)
    try:
        samples = check_container(encoded, where)
        if isinstance(samples, PcmSamples):
            info = _checked_info(samples.rate_hz, samples.num_channels, samples.num_samples, where)
            yield info, encoded.size, partial(_pcm_blocks, encoded, samples, where)
        else:
            with _open_sndfile(encoded.for_decoder(), where) as file:
                num_samples = file.frames if samples is None else _known_samples(file.frames, samples, where)
                info = _checked_info(file.samplerate, file.channels, num_samples, where)
                yield info, encoded.size, partial(_decoded_blocks, encoded, file, where)
        if encoded.changed():
            raise where.error("audio must stay as it is while it is read, but changed", "audio", "Read it again.")
    finally:
        encoded.close()


def _known_samples(estimated: int, known: int, where: Where) -> int:
    """Return how many samples a file holds where libsndfile estimates it from the file's size, tags included."""
    if estimated + MPEG_FRAME_SAMPLES <= known:  # the decoder would stop there
        raise where.error(
            f"an MP3 of changing bitrate must have a Xing, Info or VBRI header, but has none for its {known} samples",
            "num_samples",
            "Encode it again, for example with: ffmpeg -i FILE FILE.flac",
        )
    return min(estimated, known)


def _array_blocks(wave_SC: np.ndarray, start: int, stop: int) -> Iterator[np.ndarray]:
    step = max(1, BLOCK_SAMPLES // wave_SC.shape[1])
    for first in range(start, stop, step):
        yield wave_SC[first : min(first + step, stop)]


def _pcm_blocks(encoded: Encoded, pcm: PcmSamples, where: Where, start: int, stop: int) -> Iterator[np.ndarray]:
    frame = pcm.kind.itemsize * pcm.num_channels
    step = max(1, BLOCK_SAMPLES // pcm.num_channels)
    for first in range(start, stop, step):
        wanted = (min(first + step, stop) - first) * frame
        piece = encoded.view(pcm.start + first * frame, wanted)
        if len(piece) < wanted:
            raise where.error(
                "audio must stay as it is while it is read, but became shorter", "audio", "Read it again."
            )
        yield np.frombuffer(piece, pcm.kind).reshape(-1, pcm.num_channels)


def _decoded_blocks(encoded: Encoded, file, where: Where, start: int, stop: int) -> Iterator[np.ndarray]:
    import soundfile

    num_left, step = stop - start, max(1, BLOCK_SAMPLES // file.channels)
    if start and file.format == "FLAC":  # other formats were walked, or seek by counting bytes
        file = _open_sndfile(BoundedReader(encoded, SEEK_BYTES + 4 * file.channels * num_left), where)
    try:
        if start:
            file.seek(start)
        while num_left > 0 and len(block_SC := file.read(min(num_left, step), dtype="float32", always_2d=True)):
            num_left -= len(block_SC)
            yield block_SC
    except (soundfile.SoundFileError, RuntimeError, ValueError, SystemError) as e:
        problem = f"audio cannot be decoded: {getattr(e, 'error_string', e)}"
        raise where.error(problem, "audio", "Copy or encode the file again.") from None
    if num_left:
        raise where.error(
            f"audio must hold the {stop - start} samples its header announces, but holds {stop - start - num_left}",
            "num_samples",
            "The file is truncated or damaged: copy or encode it again.",
        )


def _open_sndfile(file, where: Where):
    import soundfile

    try:
        return soundfile.SoundFile(file, closefd=False)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as e:
        raise where.error(
            f"audio must be {FORMATS}, but cannot be opened: {getattr(e, 'error_string', e)}",
            "audio",
            "Convert the file, for example with: ffmpeg -i FILE FILE.flac",
        ) from None


def _checked_info(rate: int, channels: int, num_samples: int, where: Where) -> AudioInfo:
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise where.error(
            f"sampling rate must be {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz, but is {rate}",
            "rate_hz",
            "Correct the header or resample the file.",
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise where.error(
            f"audio must have 1 to {MAX_CHANNELS} channels, but has {channels}",
            "num_channels",
            "An array must be (samples, channels): transpose it; a file: mix it down.",
        )
    if num_samples <= 0:
        raise where.error("audio must hold samples, but holds 0", "num_samples", "Remove or replace the file.")
    return AudioInfo(int(rate), int(channels), int(num_samples))


def _excerpt(
    info: AudioInfo, offset_s: float, duration_s: float | None, max_duration_s: float, where: Where
) -> tuple[int, int]:
    """Return first and last sample (exclusive) of the excerpt, checked against the length of the file."""
    if not (np.isfinite(offset_s) and 0 <= offset_s < info.duration_s):
        raise where.error(
            f"offset must lie in 0 to {info.duration_s:.3f} s, but is {offset_s}",
            "offset_s",
            "Correct the manifest.",
        )
    start = round(offset_s * info.rate_hz)
    stop = info.num_samples
    if duration_s is not None:
        if not (np.isfinite(duration_s) and duration_s > 0):
            raise where.error(f"duration must be positive, but is {duration_s}", "duration_s", "Correct the manifest.")
        wanted = start + round(duration_s * info.rate_hz)
        slack = 1 + info.rate_hz // 100  # durations in manifests are often rounded to 10 ms
        if wanted > stop + slack:
            raise where.error(
                f"excerpt must end within {info.duration_s:.3f} s, but ends at {offset_s + duration_s:.3f} s",
                "duration_s",
                "Correct the manifest or replace the truncated file.",
            )
        stop = min(stop, wanted)
    if stop <= start:
        raise where.error("excerpt must hold samples, but holds 0", "duration_s", "Correct the manifest.")
    if (stop - start) / info.rate_hz > max_duration_s:
        raise where.error(
            f"audio must last at most {max_duration_s:g} s, but lasts {(stop - start) / info.rate_hz:.1f} s",
            "duration_s",
            "Cut the recording into clips, or raise max_duration_s.",
        )
    return start, stop


def _require_readable(num_samples: int, info: AudioInfo, num_bytes: int, rate_hz: int, where: Where) -> None:
    """Raise AudioError if an excerpt is too large for memory, implausibly compressed, or empty once resampled."""
    num_resampled = (2 * num_samples * rate_hz + info.rate_hz) // (2 * info.rate_hz)  # as soxr rounds
    if num_resampled == 0:
        raise where.error("audio must hold samples after resampling, but holds 0", "num_samples", "Remove it.")
    decoded, per_byte = num_samples * info.num_channels, info.num_samples * info.num_channels / num_bytes
    if max(num_samples, num_resampled) > MOST_SAMPLES or decoded > MOST_DECODED_SAMPLES:
        raise where.error(
            f"audio that is read at once must have at most {MOST_SAMPLES:,} samples, {MOST_DECODED_SAMPLES:,} over all "
            f"channels, but has {max(num_samples, num_resampled):,}, {decoded:,} over all channels",
            "num_samples",
            "Read it in pieces (offset_s, duration_s), or cut the recording into clips.",
        )
    if decoded > MOST_SAMPLES // 2 and per_byte > MOST_SAMPLES_PER_BYTE:
        raise where.error(
            f"a file must hold at most {MOST_SAMPLES_PER_BYTE} samples a byte, but holds {per_byte:.0f}: no recording "
            "can be packed like that",
            "num_samples",
            "Read it in pieces (offset_s, duration_s) if it is mostly digital silence, or remove it.",
        )


def _checked_array(source: tuple[np.ndarray, int], where: Where) -> tuple[np.ndarray, int]:
    if len(source) != 2:
        raise where.error(f"audio must be (array, rate), but has {len(source)} parts", "audio", "Pass (array, rate).")
    array, rate = source
    wave = np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)  # type: ignore[union-attr]
    if wave.ndim not in (1, 2) or wave.dtype.kind not in "fi":
        raise where.error(
            f"array must be (samples,) or (samples, channels) of float or int, but is {wave.dtype} {wave.shape}",
            "audio",
            "Pass float samples in ±1 or integer PCM.",
        )
    wave_SC = wave[:, None] if wave.ndim == 1 else wave
    if not isinstance(rate, int | float | np.integer | np.floating) or not np.isfinite(rate) or rate != int(rate):
        raise where.error(f"rate must be a whole number of Hz, but is {rate!r}", "rate_hz", "Pass (array, rate).")
    _checked_info(int(rate), wave_SC.shape[1], len(wave_SC), where)
    return wave_SC, int(rate)
