"""A clip as one vector: statistics of MFCCs, of log-mel bands, of their course, and functionals of the voice.

Four sets: ``mfcc`` and ``log_mel`` describe how a clip sounds as a whole, ``course`` how it changes from beginning to
end (words, events), ``functionals`` how it is spoken: pitch, energy and voice quality, descriptors chosen after the
Geneva minimal set (Eyben et al. 2016). All are finite for any clip, silence and a single sample included.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch

from sonolex.audio.features import delta, librosa_log_mel

VERSION = 1  # raise it with any change of a number: they are cached
RATE_HZ = 16_000
NUM_MFCC = 20
NUM_MELS = 40
COURSE_PARTS, COURSE_MFCC = 6, 13
FRAME_SAMPLES, HOP_SAMPLES, FFT_SAMPLES = 640, 160, 1024  # 40 ms every 10 ms
PITCH_HZ = (60.0, 500.0)
VOICED = 0.5  # of the normalised autocorrelation at the pitch period; Praat's default is 0.45
QUIET_DB = 40.0  # a frame so far below the loudest one is not voice
QUIETEST_DB = -90.0  # of full scale: what 16 bits can just hold
FRAMES_AT_ONCE = 1024
STATISTICS = ("mean", "deviation", "p20", "p50", "p80", "change")
VOICED_CONTOURS = ("pitch_st", "jitter", "shimmer_db", "hnr_db")
SPECTRAL_CONTOURS = (
    "level_db", "slope_low", "slope_mid", "alpha_db", "hammarberg_db", "centroid", "bandwidth", "flatness_db",
    "rolloff", "flux", "crossings",
)  # fmt: skip
TEMPORAL = ("voiced_share", "voiced_per_s", "voiced_mean_s", "voiced_deviation_s", "peaks_per_s", "duration_log_s")
SET_SIZES = {
    "mfcc": 4 * NUM_MFCC,
    "log_mel": 3 * NUM_MELS,
    "course": COURSE_PARTS * COURSE_MFCC,
    "functionals": (len(VOICED_CONTOURS) + len(SPECTRAL_CONTOURS)) * len(STATISTICS) + len(TEMPORAL),
}


def clip_statistics(wave_S: np.ndarray, sets: Sequence[str]) -> np.ndarray:
    """Return the named sets of one clip at `RATE_HZ`, one behind the other, (F,) float32.

    Raises:
        ValueError: no such set, or a clip without samples.
    """
    unknown = sorted(set(sets) - set(SET_SIZES))
    if unknown or not sets:
        raise ValueError(f"`sets` must be some of {', '.join(SET_SIZES)}, but are {list(sets)}.")
    wave_S = np.ascontiguousarray(wave_S, np.float32)
    vectors = {"functionals": functionals(wave_S)} if "functionals" in sets else {}
    if set(sets) - {"functionals"}:
        log_mel_TF = _log_mel(wave_S)
        mfcc_TF = _mfcc(log_mel_TF)
        makers = {"mfcc": (mfcc_statistics, mfcc_TF), "log_mel": (log_mel_statistics, log_mel_TF)}
        makers["course"] = (course, mfcc_TF)
        vectors |= {name: make(frames) for name, (make, frames) in makers.items() if name in sets}
    return np.concatenate([vectors[name] for name in sets]).astype(np.float32)


def mfcc_statistics(mfcc_TF: np.ndarray) -> np.ndarray:
    """Return mean and deviation of MFCCs and of their derivatives, (4 · NUM_MFCC,)."""
    delta_TF = delta(torch.from_numpy(np.ascontiguousarray(mfcc_TF))).numpy()
    return np.concatenate([mfcc_TF.mean(0), mfcc_TF.std(0), delta_TF.mean(0), delta_TF.std(0)])


def log_mel_statistics(log_mel_TF: np.ndarray) -> np.ndarray:
    """Return mean and deviation of the bands, and the deviation of their change by frame, (3 · NUM_MELS,)."""
    change_TF = np.diff(log_mel_TF, axis=0, prepend=log_mel_TF[:1])
    return np.concatenate([log_mel_TF.mean(0), log_mel_TF.std(0), change_TF.std(0)])


def course(mfcc_TF: np.ndarray) -> np.ndarray:
    """Return the mean of the first MFCCs in equal parts of the clip, (COURSE_PARTS · COURSE_MFCC,).

    A clip with fewer frames than parts repeats some of them.
    """
    edges = np.linspace(0, len(mfcc_TF), COURSE_PARTS + 1)
    parts = [mfcc_TF[int(a) : max(int(a) + 1, int(b))] for a, b in pairwise(edges)]
    return np.concatenate([part[:, :COURSE_MFCC].mean(0) for part in parts])


def functionals(wave_S: np.ndarray) -> np.ndarray:
    """Return functionals of pitch, energy and voice quality of one clip, named by `functional_names`.

    Contours every 10 ms: pitch (semitones above 27.5 Hz), jitter, shimmer and harmonics-to-noise ratio of voiced
    frames; of frames above the clip's silence level, spectral slopes below 500 and to 1500 Hz, alpha ratio, Hammarberg
    index, centroid, bandwidth, flatness, rolloff, flux, zero crossings. Of each its `STATISTICS`; then how much of the
    clip is voiced, and how often the voice begins and the level peaks.

    Differs: jitter and shimmer compare neighbouring frames, not neighbouring periods, which needs no period marks.
    """
    framed_TS = _frames(wave_S)
    contours = _contours(framed_TS)
    level_db_T = contours["level_db"]
    heard_T = level_db_T > level_db_T.max() - QUIET_DB
    voiced_T = heard_T & (contours["strength"] > VOICED) & (level_db_T > QUIETEST_DB)
    contours |= _voice_contours(contours["peak_db"], contours["period"], contours["strength"])
    both_T = voiced_T & np.roll(voiced_T, 1)
    both_T[0] = False
    chosen = {"pitch_st": voiced_T, "hnr_db": voiced_T, "jitter": both_T, "shimmer_db": both_T}
    values = [_statistics_of(contours[name][chosen[name]]) for name in VOICED_CONTOURS]
    values += [_statistics_of(contours[name][heard_T]) for name in SPECTRAL_CONTOURS]
    return np.concatenate([*values, _temporal(voiced_T, level_db_T, len(wave_S) / RATE_HZ)])


def functional_names() -> list[str]:
    """Return the names of the values of `functionals`, in order."""
    return [f"{c}.{s}" for c in (*VOICED_CONTOURS, *SPECTRAL_CONTOURS) for s in STATISTICS] + list(TEMPORAL)


def _log_mel(wave_S: np.ndarray) -> np.ndarray:
    wave = torch.from_numpy(wave_S)
    return librosa_log_mel(wave, fft_samples=512, window_samples=400, hop_samples=160, num_mels=NUM_MELS).numpy()


def _mfcc(log_mel_TF: np.ndarray) -> np.ndarray:
    from scipy.fft import dct

    return np.asarray(dct(log_mel_TF, axis=1, norm="ortho"))[:, :NUM_MFCC]


def _frames(wave_S: np.ndarray) -> np.ndarray:
    """Return frames (T, FRAME_SAMPLES), a view; a short clip is one frame, padded with zeros."""
    if not len(wave_S):
        raise ValueError("audio must hold at least one sample, but holds 0. Remove the clip.")
    wave_S = np.pad(wave_S.astype(np.float64), (0, max(0, FRAME_SAMPLES - len(wave_S))))
    return np.lib.stride_tricks.sliding_window_view(wave_S, FRAME_SAMPLES)[::HOP_SAMPLES]


@lru_cache(maxsize=1)
def _window() -> np.ndarray:
    return np.hanning(FRAME_SAMPLES)


@lru_cache(maxsize=1)
def _window_correlation() -> np.ndarray:
    """Return the autocorrelation of the window, by which that of a windowed frame is divided (Boersma 1993)."""
    spectrum = np.abs(np.fft.rfft(_window(), 2 * FFT_SAMPLES)) ** 2
    correlation = np.fft.irfft(spectrum)[: FRAME_SAMPLES // 2 + 2]
    return correlation / correlation[0]


def _contours(framed_TS: np.ndarray) -> dict[str, np.ndarray]:
    """Return the measurements of every frame by name; the work runs some frames at a time to bound memory."""
    pieces, before_K = [], None
    for start in range(0, len(framed_TS), FRAMES_AT_ONCE):
        piece_TS = framed_TS[start : start + FRAMES_AT_ONCE]
        piece_TS = piece_TS - piece_TS.mean(1, keepdims=True)
        power_TK = np.abs(np.fft.rfft(piece_TS * _window(), FFT_SAMPLES)) ** 2 + 1e-10
        root_TK = np.sqrt(power_TK / power_TK.sum(1, keepdims=True))
        before_K = root_TK[:1] if before_K is None else before_K
        period_T, strength_T = _periods(piece_TS)
        pieces.append(
            _spectral_contours(power_TK)
            | {
                "level_db": 10 * np.log10(np.mean(piece_TS**2, axis=1) + 1e-10),
                "peak_db": 20 * np.log10(np.abs(piece_TS).max(1) + 1e-8),
                "crossings": np.mean(piece_TS[:, 1:] * piece_TS[:, :-1] < 0, axis=1),
                "flux": np.linalg.norm(np.diff(root_TK, axis=0, prepend=before_K), axis=1),
                "period": period_T,
                "strength": strength_T,
            }
        )
        before_K = root_TK[-1:]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _periods(framed_TS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each frame's period in samples (T,), parabolically refined, and the autocorrelation there (T,), 0 to 1."""
    power = np.abs(np.fft.rfft(framed_TS * _window(), 2 * FFT_SAMPLES)) ** 2
    lags = FRAME_SAMPLES // 2 + 2
    correlation = np.fft.irfft(power)[:, :lags]
    correlation = correlation / (correlation[:, :1] + 1e-12) / _window_correlation()
    low, high = int(RATE_HZ / PITCH_HZ[1]), min(int(RATE_HZ / PITCH_HZ[0]), lags - 2)
    lag_L = np.arange(low, high + 1)
    # A period's multiples correlate as well: shorter ones are preferred a little (Boersma's octave cost, 0.01).
    preferred = correlation[:, low : high + 1] - 0.01 * np.log2(lag_L / low)
    best_T = lag_L[preferred.argmax(1)]
    rows = np.arange(len(framed_TS))
    before, there, after = (correlation[rows, best_T + step] for step in (-1, 0, 1))
    bend = before - 2 * there + after
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (before - after) / np.where(np.abs(bend) > 1e-9, bend, 1), 0.0)
    return best_T + np.clip(shift, -0.5, 0.5), np.clip(there, 0.0, 0.9999)


def _voice_contours(peak_db_T: np.ndarray, period_T: np.ndarray, strength_T: np.ndarray) -> dict[str, np.ndarray]:
    before_T = np.roll(period_T, 1)
    clear_T = np.maximum(strength_T, 1e-3)
    return {
        "pitch_st": 12 * np.log2(RATE_HZ / period_T / 27.5),
        "jitter": np.minimum(np.abs(period_T - before_T) / (0.5 * (period_T + before_T)), 0.5),
        "shimmer_db": np.minimum(np.abs(peak_db_T - np.roll(peak_db_T, 1)), 20.0),
        "hnr_db": 10 * np.log10(clear_T / (1 - clear_T)),
    }


def _spectral_contours(power_TK: np.ndarray) -> dict[str, np.ndarray]:
    hz_K = np.fft.rfftfreq(FFT_SAMPLES, 1 / RATE_HZ)
    db_TK = 10 * np.log10(power_TK)
    share_TK = power_TK / power_TK.sum(1, keepdims=True)
    centroid_T = share_TK @ hz_K
    bandwidth_T = np.sqrt(np.maximum(share_TK @ hz_K**2 - centroid_T**2, 0.0))

    def total_db(low: float, high: float) -> np.ndarray:
        return 10 * np.log10(power_TK[:, (hz_K >= low) & (hz_K < high)].sum(1))

    def peak_db(low: float, high: float) -> np.ndarray:
        return db_TK[:, (hz_K >= low) & (hz_K < high)].max(1)

    return {
        "slope_low": _slope(db_TK, hz_K, 50, 500),
        "slope_mid": _slope(db_TK, hz_K, 500, 1500),
        "alpha_db": total_db(50, 1000) - total_db(1000, 5000),
        "hammarberg_db": peak_db(50, 2000) - peak_db(2000, 5000),
        "centroid": centroid_T / 1000,
        "bandwidth": bandwidth_T / 1000,
        "flatness_db": db_TK.mean(1) - 10 * np.log10(power_TK.mean(1)),
        "rolloff": hz_K[np.minimum((share_TK.cumsum(1) < 0.85).sum(1), len(hz_K) - 1)] / 1000,
    }


def _slope(db_TK: np.ndarray, hz_K: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the slope of a line through the spectrum in dB per 1000 Hz, (T,)."""
    kept = (hz_K >= low) & (hz_K < high)
    centred_K = (hz_K[kept] - hz_K[kept].mean()) / 1000
    return db_TK[:, kept] @ centred_K / (centred_K @ centred_K)


def _statistics_of(contour_T: np.ndarray) -> np.ndarray:
    """Return the `STATISTICS` of a contour; zeros where it has no frame."""
    if not len(contour_T):
        return np.zeros(len(STATISTICS))
    change = np.abs(np.diff(contour_T)).mean() if len(contour_T) > 1 else 0.0
    return np.array([contour_T.mean(), contour_T.std(), *np.percentile(contour_T, (20, 50, 80)), change])


def _temporal(voiced_T: np.ndarray, level_db_T: np.ndarray, duration_s: float) -> np.ndarray:
    hop_s = HOP_SAMPLES / RATE_HZ
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced_T.astype(int), [0]])))
    lengths_s = (edges[1::2] - edges[::2]) * hop_s
    inner = level_db_T[1:-1]
    peaks = np.sum((inner > level_db_T[:-2]) & (inner >= level_db_T[2:]) & (inner > level_db_T.max() - QUIET_DB))
    whole_s = max(duration_s, hop_s)
    mean_s, deviation_s = (lengths_s.mean(), lengths_s.std()) if len(lengths_s) else (0.0, 0.0)
    rates = [len(lengths_s) / whole_s, mean_s, deviation_s, peaks / whole_s]
    return np.array([voiced_T.mean(), *rates, np.log(whole_s)])
