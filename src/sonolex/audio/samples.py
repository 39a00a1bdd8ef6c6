"""Decoded samples as mono float32, block by block: mixed down, checked, joined, resampled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sonolex.audio.errors import Where

MAX_PEAK = 100.0  # float files may exceed ±1; beyond this they hold integers or garbage


def checked_mono(blocks_SC: Iterator[np.ndarray], start: int, where: Where) -> Iterator[np.ndarray]:
    """Mix every block down to mono float32, and check floats: only they can be infinite or beyond full scale."""
    for block_SC in blocks_SC:
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinity are errors below, not warnings
            scaled_SC = _as_float(block_SC)
            block_S = scaled_SC[:, 0] if scaled_SC.shape[1] == 1 else scaled_SC.mean(axis=1, dtype=np.float32)
        if block_SC.dtype.kind == "f":
            _check_values(block_S, start, where)
        start += len(block_S)
        yield block_S


def _as_float(wave: np.ndarray) -> np.ndarray:
    """Return float32; integers are scaled by their full scale to ±1."""
    if wave.dtype.kind == "i":
        return np.multiply(wave, np.float32(1.0 / (1 << (8 * wave.dtype.itemsize - 1))), dtype=np.float32)
    return wave.astype(np.float32, copy=False)


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


def joined(blocks: Iterator[np.ndarray], num_samples: int, where: Where) -> np.ndarray:
    """Return the blocks in one array."""
    first_S = next(blocks)
    if len(first_S) == num_samples:
        for _ in blocks:  # the last checks run after the last block
            pass
        return first_S
    try:
        wave_S = np.empty(num_samples, np.float32)  # pages are taken as they are filled: a false header costs none
    except MemoryError:
        raise where.error(
            f"audio must fit into memory, but its {num_samples} samples do not", "num_samples", "Read it in pieces."
        ) from None
    wave_S[: len(first_S)] = first_S
    done = len(first_S)
    for block_S in blocks:
        wave_S[done : done + len(block_S)] = block_S
        done += len(block_S)
    return wave_S


def resampled(wave_S: np.ndarray, rate: int, rate_hz: int) -> np.ndarray:
    if rate != rate_hz:
        import soxr

        wave_S = soxr.resample(wave_S, rate, rate_hz, quality="HQ")
    return np.ascontiguousarray(wave_S, dtype=np.float32)
