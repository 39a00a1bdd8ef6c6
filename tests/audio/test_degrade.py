from __future__ import annotations

import numpy as np
import pytest

from sonolex.audio.degrade import Degradation

RATE = 16_000


def tone(hertz=440.0, seconds=1.0):
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def degraded(wave, seed=0, **what):
    return Degradation(**what).apply(wave, rate_hz=RATE, seed=seed)


@pytest.mark.parametrize("snr_db", [20.0, 0.0, -5.0])
def test_noise_has_the_wanted_ratio_and_falls_with_frequency(snr_db):
    wave = tone()
    noise = degraded(wave, noise_snr_db=snr_db) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.01)
    power = np.abs(np.fft.rfft(noise)) ** 2
    assert 4 < power[200:400].mean() / power[1600:3200].mean() < 16  # three octaves up: an eighth
    assert np.array_equal(degraded(wave, noise_snr_db=snr_db), degraded(wave, noise_snr_db=snr_db))
    assert not np.array_equal(degraded(wave, noise_snr_db=snr_db), degraded(wave, 1, noise_snr_db=snr_db))


def test_reverberation_keeps_length_and_power_and_fades_as_it_says():
    click = np.zeros(2 * RATE, np.float32)
    click[100] = 0.5
    wet = degraded(click, reverberation_s=0.5)
    assert len(wet) == len(click) and np.mean(wet**2) == pytest.approx(np.mean(click**2), rel=1e-4)
    early, late = wet[200:1800], wet[100 + RATE // 4 :][:1600]
    fallen_db = 10 * np.log10(np.mean(early**2) / np.mean(late**2))
    assert fallen_db == pytest.approx(60 * (RATE / 4 - 100) / RATE / 0.5, abs=1)
    assert max(np.abs(wet[100 + RATE // 2 + 10 :]).max(), np.abs(wet[:99]).max()) < 1e-6


def test_speed_shortens_and_raises_the_pitch():
    fast = degraded(tone(), speed=1.25)
    assert len(fast) == pytest.approx(RATE / 1.25, abs=2)
    peak = np.argmax(np.abs(np.fft.rfft(fast))) * RATE / len(fast)
    assert peak == pytest.approx(550, abs=3)


def test_nothing_is_done_unless_asked_and_silence_stays():
    assert np.array_equal(degraded(tone()), tone())
    silence = np.zeros(1000, np.float32)
    assert not degraded(silence, noise_snr_db=0.0, reverberation_s=0.3).any()
    with pytest.raises(ValueError, match="speed"):
        Degradation(speed=0.0)
