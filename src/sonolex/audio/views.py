"""Random views of a log-mel spectrogram: one `Views` describes them, one generator draws them.

All views act on a single clip's natural-log mel power (T, F), before derivatives and normalisation, so that the
expensive part of the front end is computed once and cached. Every parameter is clamped to its axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sonolex.audio.features import DECIBEL

WARP_BOUNDARY = 0.8  # share of the mel axis that is warped in proportion


@dataclass(frozen=True)
class Views:
    """What may be changed in a training clip; the default changes nothing.

    Attributes:
        speed: largest relative change of duration, e.g. 0.1 stretches time by 0.9 to 1.1 (pitch stays).
        vtlp: largest relative warp of the mel axis (vocal tract length perturbation, Jaitly & Hinton 2013).
        gain_db: largest change of level.
        equalise_db: largest change at the ends of a random smooth equaliser curve.
        noise_snr_db: lowest signal-to-noise ratio of added stationary noise; None adds none.
        num_time_masks, time_mask_share: SpecAugment time masks, each at most this share of the clip.
        num_mel_masks, mel_mask_bins: SpecAugment frequency masks, each at most this many bands.
        crop_share: largest share of the clip cut away at its ends.
        log_noise: largest height of uniform noise added to the log-mel values themselves. SSAST adds 0.1 after dividing
            by 2 · std, so 0.2 · std here.
        roll_frames: largest shift around the clip, in frames (SSAST: 10).
        pad_share: largest pause added at its ends, as a share of the clip; made of the clip's own quietest frames.
    """

    speed: float = 0.0
    vtlp: float = 0.0
    gain_db: float = 0.0
    equalise_db: float = 0.0
    noise_snr_db: float | None = None
    num_time_masks: int = 0
    time_mask_share: float = 0.1
    num_mel_masks: int = 0
    mel_mask_bins: int = 8
    crop_share: float = 0.0
    pad_share: float = 0.0
    log_noise: float = 0.0
    roll_frames: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("speed", 0, 0.9),
            ("vtlp", 0, 0.9),
            ("time_mask_share", 0, 1),
            ("crop_share", 0, 0.9),
            ("pad_share", 0, 10),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"`{name}` must be {low} to {high}, but is {value}.")

    def apply(self, log_mel_TF: Tensor, generator: Generator) -> Tensor:
        """Return a changed copy; its number of frames may differ."""
        x = log_mel_TF
        if self.crop_share:
            x = crop_ends(x, self.crop_share, generator)
        if self.pad_share:
            x = pad_ends(x, self.pad_share, generator)
        if self.speed:
            x = stretch_time(x, 1 + _symmetric(self.speed, generator))
        if self.vtlp:
            x = warp_mel(x, 1 + _symmetric(self.vtlp, generator))
        if self.equalise_db:
            x = equalise(x, self.equalise_db, generator)
        if self.noise_snr_db is not None:
            x = mix_noise(x, self.noise_snr_db, generator)
        if self.log_noise:
            height = self.log_noise * _uniform(generator)
            x = x + height * torch.rand(x.shape, generator=generator)
        if self.roll_frames:
            x = x.roll(round(_symmetric(self.roll_frames, generator)), 0)
        if self.gain_db:
            x = x + _symmetric(self.gain_db, generator) * DECIBEL
        for _ in range(self.num_mel_masks):
            x = mask_band(x, 1, min(self.mel_mask_bins, x.shape[1]), generator)
        for _ in range(self.num_time_masks):
            x = mask_band(x, 0, int(self.time_mask_share * x.shape[0]), generator)
        return x


def stretch_time(log_mel_TF: Tensor, factor: float) -> Tensor:
    """Return the clip played ``factor`` times as long, by linear interpolation between frames."""
    num_frames = max(1, round(log_mel_TF.shape[0] * factor))
    stretched = F.interpolate(log_mel_TF.T[None], size=num_frames, mode="linear", align_corners=True)
    return stretched[0].T


def warp_mel(log_mel_TF: Tensor, factor: float) -> Tensor:
    """Return the clip with band f taken from band f · factor, interpolated; the ends of the axis stay where they are.

    Piecewise linear as in VTLP (Jaitly & Hinton 2013): above WARP_BOUNDARY a straight line leads to the last band, so
    that fricatives at the top are neither pushed off the axis nor repeated. Differs: mel axis instead of Hz.
    """
    top = log_mel_TF.shape[1] - 1
    band_F = torch.arange(top + 1, dtype=log_mel_TF.dtype)
    boundary = WARP_BOUNDARY * top * min(1.0, 1.0 / factor)
    share_above_F = ((band_F - boundary) / max(top - boundary, 1e-6)).clamp_min(0.0)
    warped_F = torch.minimum(band_F, torch.tensor(boundary)) * factor + share_above_F * (top - boundary * factor)
    from_F = warped_F.clamp(0, top)
    low_F = from_F.floor().long().clamp(max=max(top - 1, 0))
    weight_F = from_F - low_F
    return log_mel_TF[:, low_F] * (1 - weight_F) + log_mel_TF[:, (low_F + 1).clamp(max=top)] * weight_F


def crop_ends(log_mel_TF: Tensor, share: float, generator: Generator) -> Tensor:
    """Return the clip without up to ``share`` of its frames, divided at random between the two ends."""
    num_frames = log_mel_TF.shape[0]
    cut = int(share * num_frames * _uniform(generator))
    start = int(_uniform(generator) * (cut + 1))
    return log_mel_TF[start : num_frames - (cut - start)]


def pad_ends(log_mel_TF: Tensor, share: float, generator: Generator) -> Tensor:
    """Return the clip with up to ``share`` of its length of pause, divided at random between the two ends.

    The pause is drawn from the clip's own quietest tenth, so that room and recorder stay those of the clip.
    """
    num_frames = log_mel_TF.shape[0]
    added = int(share * num_frames * _uniform(generator))
    before = int(_uniform(generator) * (added + 1))
    quiet_TF = log_mel_TF[log_mel_TF.mean(1).argsort()[: max(1, num_frames // 10)]]
    pause_TF = quiet_TF[torch.randint(len(quiet_TF), (added,), generator=generator)]
    return torch.cat([pause_TF[:before], log_mel_TF, pause_TF[before:]])


def equalise(log_mel_TF: Tensor, decibels: float, generator: Generator) -> Tensor:
    """Return the clip through a random smooth equaliser: a quadratic over the mel axis of at most ± ``decibels``."""
    position_F = torch.linspace(-1, 1, log_mel_TF.shape[1])
    tilt, bow = _symmetric(decibels, generator), _symmetric(decibels, generator)
    return log_mel_TF + DECIBEL * (0.5 * tilt * position_F + 0.5 * bow * (2 * position_F.square() - 1))


def mix_noise(log_mel_TF: Tensor, snr_db: float, generator: Generator) -> Tensor:
    """Return the clip plus stationary noise of a random spectral tilt, at ``snr_db`` to ``snr_db`` + 30 dB.

    Powers of independent signals add, so the sum is taken in the mel power domain.
    """
    num_mels = log_mel_TF.shape[1]
    tilt_F = torch.linspace(0, 1, num_mels) * _symmetric(3.0, generator)
    shape_TF = tilt_F + torch.log(torch.empty_like(log_mel_TF).exponential_(generator=generator).clamp_min(1e-4))
    level = torch.logsumexp(log_mel_TF, (0, 1)) - torch.logsumexp(shape_TF, (0, 1))
    drawn_db = snr_db + 30.0 * _uniform(generator)
    return torch.logaddexp(log_mel_TF, shape_TF + level - drawn_db * DECIBEL)


def mix_clips(log_mel_TF: Tensor, other_TF: Tensor, share: float) -> Tensor:
    """Return ``share`` of one clip plus the rest of another, cut or padded with nothing to the first one's length.

    Mixup of waveforms (AST section 3.1) adds amplitudes; powers of independent sounds add with the squares of their
    shares. Differs: mixed in the mel power domain, so that cached features can be mixed.
    """
    mixed_TF = log_mel_TF + 2 * math.log(share)
    common = min(len(log_mel_TF), len(other_TF))
    if common and share < 1:
        other = other_TF[:common] + 2 * math.log(1 - share)
        mixed_TF = torch.cat([torch.logaddexp(mixed_TF[:common], other), mixed_TF[common:]])
    return mixed_TF


def mask_band(log_mel_TF: Tensor, axis: int, widest: int, generator: Generator) -> Tensor:
    """Return the clip with 0 to ``widest`` consecutive frames (axis 0) or bands (axis 1) set to its mean."""
    size = log_mel_TF.shape[axis]
    width = int(_uniform(generator) * (min(widest, size) + 1))
    start = int(_uniform(generator) * (size - width + 1))
    masked = log_mel_TF.clone()
    masked.narrow(axis, start, width).fill_(log_mel_TF.mean())
    return masked


def _uniform(generator: Generator) -> float:
    return float(torch.rand((), generator=generator))


def _symmetric(largest: float, generator: Generator) -> float:
    return largest * (2 * _uniform(generator) - 1)
