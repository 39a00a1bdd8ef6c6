"""Decode, check and resample audio. The only file that opens audio.

WAV, FLAC, OGG, MP3 and Opus through libsndfile; plain PCM WAV by a direct parse (about six times faster). Nothing
is repaired silently: whatever cannot be trusted raises `AudioError` with the clip, the file, the field and the cure.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sonolex.audio.errors import AudioError, Where
from sonolex.audio.shards import in_shard, shard_bytes

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 384_000
MAX_CHANNELS = 64
MAX_DURATION_S = 3_600.0
MAX_PEAK = 100.0  # float files may exceed ±1; beyond this they hold integers or garbage
BLOCK_SAMPLES = 1 << 20  # decode in blocks: a header that claims 2^40 samples must not allocate them

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
    """What a header says: rate in Hz, number of channels, samples per channel, duration in seconds."""

    rate_hz: int
    num_channels: int
    num_samples: int

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.rate_hz


@dataclass(frozen=True)
class CheckedAudio:
    """What decoding a clip to its end found: the file's header, the clip's samples, and a digest of what they are.

    ``digest`` is 32 hexadecimal digits over the rate and the mono float32 samples: other tags or another lossless
    container leave it, other audio does not. ``num_samples`` is per channel, at the file's own rate.
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
        source: a path, a ``scheme://`` address that pyarrow's filesystems know, encoded bytes, a binary file
            object, or ``(array, rate)`` with an array (samples,) or (samples, channels).
        offset_s, duration_s: the excerpt to read; None reads to the end.
        max_duration_s: longer excerpts are refused before they are decoded.

    Raises:
        AudioError: missing, empty, truncated or foreign files, no samples, NaN or infinite samples, rates outside
            1–384 kHz, more than 64 channels, headers that lie about length, too long.
    """
    where = Where(clip_id, describe_source(source))
    info, _, blocks = _mono_blocks(source, offset_s, duration_s, max_duration_s, where)
    found = list(blocks)
    wave_S = found[0] if len(found) == 1 else np.concatenate(found)
    return _resampled(wave_S, info.rate_hz, rate_hz, where)


def check_audio(
    source: AudioSource,
    *,
    clip_id: str = "",
    offset_s: float | None = None,
    duration_s: float | None = None,
    max_duration_s: float = MAX_DURATION_S,
) -> CheckedAudio:
    """Decode a clip to its end, block by block, and return what it is; memory does not grow with its length.

    Libraries and hashing release the interpreter's lock: several threads check several clips at once.

    Raises:
        AudioError: as `read_audio` with the same arguments.
    """
    where = Where(clip_id, describe_source(source))
    info, num_samples, blocks = _mono_blocks(source, offset_s or 0.0, duration_s, max_duration_s, where)
    digest = hashlib.blake2b(info.rate_hz.to_bytes(4, "little"), digest_size=16)
    for block_S in blocks:
        digest.update(np.ascontiguousarray(block_S).data)
    return CheckedAudio(info, num_samples, digest.hexdigest())


def probe_audio(source: AudioSource, *, clip_id: str = "") -> AudioInfo:
    """Return what the header says, after the checks that need no decoding.

    Raises:
        AudioError: as `read_audio`, for everything a header shows.
    """
    where = Where(clip_id, describe_source(source))
    if isinstance(source, tuple):
        wave_SC, rate = _checked_array(source, where)
        return AudioInfo(rate, wave_SC.shape[1], len(wave_SC))
    if isinstance(source, str | Path) and "://" not in str(source) and not in_shard(str(source)):
        return _probe_path(Path(source), where)
    encoded = _encoded(source, where)
    wav = _parse_wav(encoded, where)
    if wav is not None:
        return wav.info
    with _open_sndfile(io.BytesIO(encoded), where) as file:
        return _checked_info(file.samplerate, file.channels, file.frames, where)


def read_encoded(source: str | Path | bytes | BinaryIO, *, clip_id: str = "") -> bytes:
    """Return the encoded file behind a source, undecoded. Raises AudioError if it is missing or empty."""
    return _encoded(source, Where(clip_id, describe_source(source)))


def describe_source(source: AudioSource) -> str:
    """Return a short name of a source for messages."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, tuple):
        return "<array>"
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    return str(getattr(source, "name", "<file object>"))


@dataclass(frozen=True)
class _Wav:
    info: AudioInfo
    samples: np.ndarray  # (num_samples * channels,), int16 or float32, still interleaved


def _encoded(source: str | Path | bytes | BinaryIO, where: Where) -> bytes:
    if isinstance(source, bytes):
        encoded = source
    elif isinstance(source, str | Path):
        encoded = _file_bytes(str(source), where)
    else:
        encoded = source.read()
        if not isinstance(encoded, bytes):
            raise where.error("audio must be a binary file object", "audio", "Open the file with mode 'rb'.")
    if not encoded:
        raise where.error("audio must hold samples, but the file is empty", "audio", "Remove or replace the file.")
    return encoded


def _file_bytes(path: str, where: Where) -> bytes:
    try:
        if in_shard(path):
            return shard_bytes(path, where)
        if "://" in path:
            from pyarrow import fs

            filesystem, inner = fs.FileSystem.from_uri(path)
            with filesystem.open_input_stream(inner) as stream:
                return stream.read()
        return Path(path).read_bytes()
    except AudioError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise where.error("audio must exist, but is missing", "audio", "Correct the path or the root.") from None
    except IsADirectoryError:
        raise where.error("audio must be a file, but is a folder", "audio", "Name the file itself.") from None
    except (OSError, ValueError, KeyError) as e:  # NUL in a path, unknown scheme, foreign Parquet
        raise where.error(f"audio cannot be read: {e}", "audio", "Check path and permissions.") from None


def _probe_path(path: Path, where: Where) -> AudioInfo:
    """Probe without reading the whole file, unless it is a WAV whose length must be compared with its header."""
    try:
        with path.open("rb") as f:
            is_wav = f.read(4) == b"RIFF"
    except OSError:
        is_wav = True  # _encoded gives the right message
    if is_wav:
        encoded = _encoded(path, where)
        wav = _parse_wav(encoded, where)
        if wav is not None:
            return wav.info
    if path.stat().st_size == 0:
        _encoded(path, where)
    with _open_sndfile(path, where) as file:
        return _checked_info(file.samplerate, file.channels, file.frames, where)


def _mono_blocks(
    source: AudioSource, offset_s: float, duration_s: float | None, max_duration_s: float, where: Where
) -> tuple[AudioInfo, int, Iterator[np.ndarray]]:
    """Return what the header says, the excerpt's length in samples, and its mono float32 blocks (S,), checked."""
    if isinstance(source, tuple):
        wave_SC, rate = _checked_array(source, where)
        info, file = AudioInfo(rate, wave_SC.shape[1], len(wave_SC)), None
    else:
        encoded = _encoded(source, where)
        if (wav := _parse_wav(encoded, where)) is not None:
            info, file = wav.info, None
            wave_SC = wav.samples.reshape(-1, info.num_channels)
        else:
            file = _open_sndfile(io.BytesIO(encoded), where)
            info, wave_SC = _checked_info(file.samplerate, file.channels, file.frames, where), None
    start, stop = _excerpt(info, offset_s, duration_s, max_duration_s, where)
    blocks_SC = _decoded_blocks(file, start, stop, where) if wave_SC is None else _blocks_of(wave_SC[start:stop])
    return info, stop - start, _checked_mono(blocks_SC, start, where)


def _blocks_of(wave_SC: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(wave_SC), BLOCK_SAMPLES):
        yield wave_SC[first : first + BLOCK_SAMPLES]


def _decoded_blocks(file, start: int, stop: int, where: Where) -> Iterator[np.ndarray]:
    import soundfile

    left = stop - start
    with file:
        try:
            if start:
                file.seek(start)
            while left > 0 and len(block := file.read(min(left, BLOCK_SAMPLES), dtype="float32", always_2d=True)):
                yield block
                left -= len(block)
        except (soundfile.SoundFileError, RuntimeError, ValueError, SystemError) as e:
            if isinstance(e, AudioError):
                raise
            raise where.error(f"audio cannot be decoded: {e}", "audio", "Copy or encode the file again.") from None
    if left:
        raise where.error(
            f"audio must hold the {stop - start} samples its header announces, but holds {stop - start - left}",
            "num_samples",
            "The file is truncated or damaged: copy or encode it again.",
        )


def _checked_mono(blocks_SC: Iterator[np.ndarray], start: int, where: Where) -> Iterator[np.ndarray]:
    """Mix every block down to mono float32; only floats can be infinite, or beyond full scale."""
    for block_SC in blocks_SC:
        scaled_SC = _as_float(block_SC)
        block_S = scaled_SC[:, 0] if scaled_SC.shape[1] == 1 else scaled_SC.mean(axis=1, dtype=np.float32)
        if block_SC.dtype.kind == "f":
            _check_values(block_S, start, where)
        start += len(block_S)
        yield block_S


def _open_sndfile(file, where: Where):
    import soundfile

    try:
        return soundfile.SoundFile(file)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as e:
        raise where.error(
            f"audio must be WAV, FLAC, OGG, MP3 or Opus, but cannot be opened: {getattr(e, 'error_string', e)}",
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


def _checked_array(source: tuple[np.ndarray, int], where: Where) -> tuple[np.ndarray, int]:
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


def _as_float(wave: np.ndarray) -> np.ndarray:
    """Return float32; integers are scaled by their full scale to ±1."""
    if wave.dtype.kind == "i":
        return np.multiply(wave, np.float32(1.0 / (1 << (8 * wave.dtype.itemsize - 1))), dtype=np.float32)
    return wave.astype(np.float32, copy=False)


def _resampled(wave_S: np.ndarray, rate: int, rate_hz: int, where: Where) -> np.ndarray:
    if rate != rate_hz:
        import soxr

        wave_S = soxr.resample(wave_S, rate, rate_hz, quality="HQ")
        if not len(wave_S):
            raise where.error("audio must hold samples after resampling, but holds 0", "num_samples", "Remove it.")
    return np.ascontiguousarray(wave_S, dtype=np.float32)


def _check_values(wave_S: np.ndarray, start: int, where: Where) -> None:
    """Raise AudioError for values that no recording has; ``start`` is the number of the first sample."""
    if not np.isfinite(wave_S).all():
        bad = int(np.argmin(np.isfinite(wave_S)))
        raise where.error(
            f"samples must be finite, but sample {start + bad} is {wave_S[bad]}",
            "audio",
            "Export the recording again.",
        )
    peak = float(np.abs(wave_S).max())
    if peak > MAX_PEAK:
        raise where.error(
            f"samples must lie around ±1, but reach {peak:.3g}", "audio", "Divide integer-valued floats by full scale."
        )


def _parse_wav(encoded: bytes, where: Where) -> _Wav | None:
    """Parse 16-bit PCM and 32-bit float WAV; None leaves every other format to libsndfile."""
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WAVE":
        return None
    position, rate, channels, kind = 12, 0, 0, None
    while position + 8 <= len(encoded):
        name, size = (
            encoded[position : position + 4],
            int.from_bytes(encoded[position + 4 : position + 8], "little"),
        )
        body = position + 8
        if name == b"fmt " and size >= 16 and body + 16 <= len(encoded):
            code, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", encoded, body)
            kind = {(1, 16): np.dtype("<i2"), (3, 32): np.dtype("<f4")}.get((code, bits))
            if kind is None or align != channels * kind.itemsize:
                return None
        elif name == b"data":
            if kind is None:
                return None
            return _Wav(*_wav_samples(encoded, body, size, rate, channels, kind, where))
        position = body + size + (size & 1)
    return None


def _wav_samples(
    encoded: bytes, body: int, size: int, rate: int, channels: int, kind: np.dtype, where: Where
) -> tuple[AudioInfo, np.ndarray]:
    frame = kind.itemsize * channels
    info = _checked_info(rate, channels, size // frame if frame else 0, where)
    if body + size > len(encoded):
        raise where.error(
            f"audio must hold the {size} bytes of samples its header announces, but holds {len(encoded) - body}",
            "num_samples",
            "The file is truncated, or was streamed without a length: copy or encode it again.",
        )
    return info, np.frombuffer(encoded, kind, info.num_samples * channels, body)
