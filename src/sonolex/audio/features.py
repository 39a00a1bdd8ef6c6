"""Waveform to log-mel: pure, differentiable functions on tensors, in two conventions.

`librosa_log_mel` is CTAL's (50 ms windows every 12.5 ms, 80 Slaney mel bands, natural logarithm), `kaldi_fbank` is
that of AST and its family (25 ms every 10 ms, 128 HTK-style bands). Both work on one clip (S,) or a zero-padded batch
(B, S): padding with zeros changes no frame that a clip has alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

KALDI_EPSILON = 1.1920928955078125e-07  # float32 epsilon, Kaldi's floor under the logarithm
SAMPLES_AT_ONCE = 48 * 2048
AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974  # of Kaldi filter banks (AST's released code)
DECIBEL = math.log(10) / 10  # of power, in natural-log units


def librosa_log_mel(
    wave_BS: Tensor,
    *,
    rate_hz: int = 16_000,
    fft_samples: int = 2048,
    window_samples: int = 800,
    hop_samples: int = 200,
    num_mels: int = 80,
    floor: float = 1e-6,
) -> Tensor:
    """Return log(mel power + floor), (B, T, F) or (T, F), equal to librosa's melspectrogram.

    Frames are centred: T = 1 + S // hop_samples. Source: CTAL's feature code, ``mel`` option (docs/reference.md, CTAL).

    Raises:
        ValueError: fewer than one sample.
    """
    _require_samples(wave_BS)
    padded_BS = F.pad(wave_BS, (fft_samples // 2, fft_samples // 2))
    margin = (fft_samples - window_samples) // 2
    # Only window_samples of each fft_samples-long frame are not multiplied by zero, and a shift of a frame changes
    # only the phase: unfold the non-zero part alone.
    num_frames = 1 + wave_BS.shape[-1] // hop_samples
    framed_BTS = padded_BS[..., margin:].unfold(-1, window_samples, hop_samples)[..., :num_frames, :]
    window_S = _hann(window_samples, periodic=True, like=wave_BS)
    mel_weights = slaney_mel_weights(rate_hz, fft_samples, num_mels).to(wave_BS)
    return torch.log(_mel_power(framed_BTS, window_S, fft_samples, mel_weights) + floor)


def clip_fbank(wave_S: np.ndarray, *, rate_hz: int, num_mels: int, window_ms: float, hop_ms: float) -> Tensor:
    """Return `kaldi_fbank` (T, F) of one clip as AST reads it: its mean removed, at least one window long."""
    wave = torch.from_numpy(wave_S)
    shortest = round(rate_hz * window_ms / 1000)
    return kaldi_fbank(
        F.pad(wave - wave.mean(), (0, max(0, shortest - len(wave)))),
        rate_hz=rate_hz,
        num_mels=num_mels,
        window_ms=window_ms,
        hop_ms=hop_ms,
    )


def kaldi_fbank(
    wave_BS: Tensor,
    *,
    rate_hz: int = 16_000,
    num_mels: int = 128,
    window_ms: float = 25.0,
    hop_ms: float = 10.0,
    low_hz: float = 20.0,
    high_hz: float | None = None,
    preemphasis: float = 0.97,
    window: str = "hanning",
) -> Tensor:
    """Return log mel filter-bank energies (B, T, F) or (T, F), equal to Kaldi's fbank without dither or energy.

    Frames lie inside the signal (Kaldi's ``snip_edges``): T = 1 + (S − window) // hop. Source: AST's front end.

    Raises:
        ValueError: fewer samples than one window, or an unknown window name.
    """
    window_samples, hop_samples = round(rate_hz * window_ms / 1000), round(rate_hz * hop_ms / 1000)
    if wave_BS.shape[-1] < window_samples:
        raise ValueError(
            f"audio must last at least one window of {window_ms:g} ms, but has {wave_BS.shape[-1]} samples at "
            f"{rate_hz} Hz. Remove the clip or pad it."
        )
    fft_samples = 1 << (window_samples - 1).bit_length()
    framed_BTS = wave_BS.unfold(-1, window_samples, hop_samples)
    window_S = _kaldi_window(window, window_samples, wave_BS)
    mel_weights = kaldi_mel_weights(rate_hz, fft_samples, num_mels, low_hz, high_hz or rate_hz / 2).to(wave_BS)

    def emphasised(piece_BTS: Tensor) -> Tensor:
        centred_BTS = piece_BTS - piece_BTS.mean(-1, keepdim=True)
        # Kaldi emphasises each frame by itself, taking the sample before the first as equal to it.
        first_BTS = centred_BTS[..., :1] * (1 - preemphasis)
        return torch.cat([first_BTS, centred_BTS[..., 1:].sub(centred_BTS[..., :-1], alpha=preemphasis)], -1)

    power_BTF = _mel_power(framed_BTS, window_S, fft_samples, mel_weights, prepare=emphasised)
    return torch.log(power_BTF.clamp_min(KALDI_EPSILON))


def delta(frames_BTF: Tensor, valid_BT: Tensor | None = None, *, width: int = 9) -> Tensor:
    """Return the first time derivative, same shape: slope of a line fitted over ``width`` frames.

    The first and last ``width // 2`` frames repeat the nearest full fit, as librosa's delta with mode "interp" does.
    Differs: clips shorter than ``width`` use the widest odd width that fits (librosa refuses them); one or two frames
    have derivative 0.
    """
    if frames_BTF.dim() == 2:
        return delta(frames_BTF[None], None if valid_BT is None else valid_BT[None], width=width)[0]
    if valid_BT is None:
        return _delta_full(frames_BTF, width)
    out_BTF = torch.zeros_like(frames_BTF)
    for row, num_frames in enumerate(valid_BT.sum(1).tolist()):
        out_BTF[row, :num_frames] = _delta_full(frames_BTF[row : row + 1, :num_frames], width)[0]
    return out_BTF


def normalise_utterance(frames_TF: Tensor, *, epsilon: float = 1e-16, scale: bool = True) -> Tensor:
    """Return frames with mean 0 and, if ``scale``, standard deviation 1 per dimension over one clip (CMVN).

    Source: CTAL's feature code (population standard deviation plus 1e-16). A constant dimension becomes 0.
    """
    centred_TF = frames_TF - frames_TF.mean(-2, keepdim=True)
    if not scale:
        return centred_TF
    deviation_F = centred_TF.square().mean(-2, keepdim=True).sqrt()
    # Below float32 resolution of the mean the quotient would be amplified rounding noise: digital silence is 0.
    silent = deviation_F < 1e-6
    return torch.where(silent, torch.zeros_like(centred_TF), centred_TF / (deviation_F + epsilon))


@lru_cache(maxsize=16)
def slaney_mel_weights(rate_hz: int, fft_samples: int, num_mels: int) -> Tensor:
    """Return (fft_samples // 2 + 1, num_mels) triangles of equal area on Slaney's mel scale, as librosa's default."""
    low, high = _hz_to_slaney(0.0), _hz_to_slaney(rate_hz / 2)
    edges_hz = _slaney_to_hz(torch.linspace(low, high, num_mels + 2, dtype=torch.float64))
    bins_hz = torch.linspace(0, rate_hz / 2, fft_samples // 2 + 1, dtype=torch.float64)
    rising = (bins_hz[:, None] - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz[:, None]) / (edges_hz[2:] - edges_hz[1:-1])
    area = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return (torch.minimum(rising, falling).clamp_min(0) * area).float()


@lru_cache(maxsize=16)
def kaldi_mel_weights(rate_hz: int, fft_samples: int, num_mels: int, low_hz: float, high_hz: float) -> Tensor:
    """Return (fft_samples // 2 + 1, num_mels) triangles on the mel scale 1127 ln(1 + f / 700), as Kaldi's.

    Kaldi leaves the Nyquist bin out; its row is zero here.
    """
    low, high = _hz_to_htk(low_hz), _hz_to_htk(high_hz)
    edges = torch.linspace(low, high, num_mels + 2, dtype=torch.float64)
    bins_hz = torch.arange(fft_samples // 2, dtype=torch.float64) * rate_hz / fft_samples
    bins = 1127.0 * torch.log1p(bins_hz / 700.0)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return F.pad(torch.minimum(rising, falling).clamp_min(0).float(), (0, 0, 0, 1))


def _mel_power(
    framed_BTS: Tensor,
    window_S: Tensor,
    fft_samples: int,
    mel_weights: Tensor,
    *,
    prepare: Callable[[Tensor], Tensor] = lambda piece_BTS: piece_BTS,
) -> Tensor:
    """Return mel power (B, T, F) of frames, ``prepare``d and transformed some frames at a time.

    A whole clip's spectra (6 MB for 10 s of 2048-point frames) are fresh pages each time; pieces that fit the cache are
    three times faster, and two threads do not queue for pages (benchmarks/front_end.py).
    """
    size = max(1, SAMPLES_AT_ONCE // (fft_samples * max(1, framed_BTS.shape[:-2].numel())))
    pieces = []
    for piece_BTS in framed_BTS.split(size, dim=-2):
        spectrum = torch.fft.rfft(prepare(piece_BTS) * window_S, n=fft_samples)
        pieces.append((spectrum.real.square() + spectrum.imag.square()) @ mel_weights)
    return torch.cat(pieces, -2)


def _require_samples(wave_BS: Tensor) -> None:
    if wave_BS.shape[-1] < 1:
        raise ValueError("audio must hold at least one sample, but holds 0. Remove the clip.")


def _delta_full(frames_BTF: Tensor, width: int) -> Tensor:
    num_frames = frames_BTF.shape[1]
    width = min(width, num_frames - 1 + num_frames % 2)  # widest odd width that fits
    if width < 3:
        return torch.zeros_like(frames_BTF)
    half = width // 2
    slopes = torch.zeros_like(frames_BTF[:, : num_frames - 2 * half])
    for step in range(1, half + 1):
        ahead = frames_BTF[:, half + step : num_frames - half + step]
        behind = frames_BTF[:, half - step : num_frames - half - step]
        slopes = slopes + step * (ahead - behind)
    slopes = slopes / (2 * sum(step * step for step in range(1, half + 1)))
    first, last = slopes[:, :1].expand(-1, half, -1), slopes[:, -1:].expand(-1, half, -1)
    return torch.cat([first, slopes, last], 1)


def _hann(num_samples: int, *, periodic: bool, like: Tensor) -> Tensor:
    return torch.hann_window(num_samples, periodic=periodic, dtype=torch.float64).to(like)


def _kaldi_window(name: str, num_samples: int, like: Tensor) -> Tensor:
    if name == "hanning":
        return _hann(num_samples, periodic=False, like=like)
    if name == "povey":
        return _hann(num_samples, periodic=False, like=like).pow(0.85)
    raise ValueError(f"window must be 'hanning' or 'povey', but is {name!r}.")


def _hz_to_slaney(hz: float) -> float:
    if hz < 1000:
        return hz * 3 / 200
    return 15 + math.log(hz / 1000) / (math.log(6.4) / 27)


def _slaney_to_hz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * (math.log(6.4) / 27)))


def _hz_to_htk(hz: float) -> float:
    return 1127.0 * math.log1p(hz / 700.0)
