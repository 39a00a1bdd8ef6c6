"""Worse recordings and transcripts, on purpose: noise, reverberation, speed and wrong words, for robustness curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOWEST_HZ = 20.0  # pink noise has the same power at all lower frequencies


@dataclass(frozen=True)
class Degradation:
    """Changes made to a recording before a model hears it; the default makes none.

    Attributes:
        noise_snr_db: signal-to-noise ratio of added pink noise, by the mean power of the clip; None adds none. A clip
            of digital silence stays as it is.
        reverberation_s: time in which a room's answer falls by 60 dB; 0 for none.
        speed: how many times as fast the recording is played, pitch included.
        word_errors: share of a transcript's words that a recogniser would get wrong (`wrong_words`).
    """

    noise_snr_db: float | None = None
    reverberation_s: float = 0.0
    speed: float = 1.0
    word_errors: float = 0.0

    def __post_init__(self) -> None:
        if self.reverberation_s < 0 or not 0.1 <= self.speed <= 10:
            raise ValueError("`reverberation_s` must be at least 0 and `speed` 0.1 to 10.")
        if not 0 <= self.word_errors <= 1:
            raise ValueError(f"`word_errors` must be 0 to 1, but is {self.word_errors}.")

    def apply(self, wave_S: np.ndarray, *, rate_hz: int, seed: int) -> np.ndarray:
        """Return the degraded samples (S′,), float32; the same for the same seed."""
        rng = np.random.default_rng(seed)
        if self.speed != 1:
            wave_S = change_speed(wave_S, self.speed)
        if self.reverberation_s:
            wave_S = reverberate(wave_S, self.reverberation_s, rate_hz=rate_hz, rng=rng)
        if self.noise_snr_db is not None:
            wave_S = add_noise(wave_S, self.noise_snr_db, rate_hz=rate_hz, rng=rng)
        return np.ascontiguousarray(wave_S, dtype=np.float32)


def add_noise(wave_S: np.ndarray, snr_db: float, *, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Return the samples with pink noise (power 1/f) at this signal-to-noise ratio."""
    power = float(np.mean(np.square(wave_S, dtype=np.float64)))
    if power == 0:
        return wave_S
    spectrum = np.fft.rfft(rng.normal(size=len(wave_S)))
    hertz = np.fft.rfftfreq(len(wave_S), 1 / rate_hz)
    noise_S = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, LOWEST_HZ)), n=len(wave_S))
    noise_S *= np.sqrt(power / 10 ** (snr_db / 10) / np.mean(noise_S**2))
    return wave_S + noise_S


def reverberate(wave_S: np.ndarray, seconds: float, *, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Return the samples in a room: each is followed by noise of its own energy that falls by 60 dB in ``seconds``.

    Length and mean power stay; the reverberation of the last samples is cut off at the end of the clip.
    """
    from scipy.signal import fftconvolve

    num_samples = max(2, round(seconds * rate_hz))
    tail_S = rng.normal(size=num_samples) * 10 ** (-3 * np.arange(num_samples) / num_samples)
    answer_S = tail_S / np.sqrt(np.sum(tail_S**2))
    answer_S[0] += 1.0
    wet_S = fftconvolve(wave_S.astype(np.float64), answer_S)[: len(wave_S)]
    power, wet_power = np.mean(np.square(wave_S, dtype=np.float64)), np.mean(wet_S**2)
    return wet_S * np.sqrt(power / wet_power) if wet_power else wave_S


def change_speed(wave_S: np.ndarray, factor: float) -> np.ndarray:
    """Return the recording played ``factor`` times as fast: shorter and higher for a factor above 1."""
    import soxr

    return soxr.resample(wave_S, factor, 1.0, quality="HQ")


def wrong_words(text: str, share: float, *, vocabulary: Sequence[str], rng: np.random.Generator) -> str:
    """Return the transcript with errors: each word becomes one with probability ``share``; at least one word stays.

    Half of the errors put another word of ``vocabulary`` in its place, a quarter leave the word out, and a quarter add
    a word after it, so the expected word error rate is ``share``.
    """
    words: list[str] = []
    for word in text.split():
        draw = rng.random() / share if share else 2.0
        other = str(vocabulary[int(rng.integers(len(vocabulary)))])
        if draw < 0.5:
            words.append(other)
        elif draw < 0.75:
            continue
        else:
            words += [word, other] if draw < 1 else [word]
    return " ".join(words) or text
