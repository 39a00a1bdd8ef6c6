"""Statistics of a clip: what is measured of tones is what they are."""

from __future__ import annotations

import numpy as np
import pytest

from sonolex.audio.statistics import RATE_HZ, SET_SIZES, clip_statistics, course, functional_names, functionals

TIME_S = np.arange(RATE_HZ) / RATE_HZ


def named(wave):
    return dict(zip(functional_names(), functionals(wave.astype(np.float32)), strict=True))


def voice(hz, *, harmonics=10):
    """A periodic wave whose harmonics fall by 6 dB an octave, as a voice's do."""
    return 0.1 * sum(np.sin(2 * np.pi * k * hz * TIME_S) / k for k in range(1, harmonics + 1))


@pytest.mark.parametrize("hz", [80.0, 110.0, 220.0, 331.0, 440.0])
def test_the_pitch_of_a_voice_is_found_within_a_tenth_of_a_semitone(hz):
    values = named(voice(hz))
    assert values["pitch_st.mean"] == pytest.approx(12 * np.log2(hz / 27.5), abs=0.1)
    assert values["pitch_st.deviation"] < 0.1 and values["jitter.mean"] < 0.005 and values["voiced_share"] > 0.95


def test_noise_is_not_voiced_and_lowers_the_harmonics_to_noise_ratio():
    noise = np.random.default_rng(0).normal(size=len(TIME_S))
    assert named(0.1 * noise)["voiced_share"] < 0.1
    ratios = [named(voice(200) + share * noise)["hnr_db.mean"] for share in (0.0, 0.01, 0.05)]
    assert ratios[0] > 20 and ratios[0] > ratios[1] > ratios[2]
    assert named(voice(200) + 0.02 * noise)["jitter.mean"] > named(voice(200))["jitter.mean"]


def test_level_spectrum_and_rhythm_are_what_they_are():
    quiet, loud = named(0.5 * voice(150)), named(voice(150))
    assert loud["level_db.mean"] - quiet["level_db.mean"] == pytest.approx(20 * np.log10(2), abs=0.01)
    low, high = (named(0.3 * np.sin(2 * np.pi * hz * TIME_S)) for hz in (300, 3000))
    assert low["centroid.mean"] == pytest.approx(0.3, abs=0.05) and high["centroid.mean"] == pytest.approx(
        3.0, abs=0.05
    )
    assert low["alpha_db.mean"] > 20 > -20 > high["alpha_db.mean"]
    beats = voice(150) * (np.sin(2 * np.pi * 2 * TIME_S) > 0)  # two bursts a second
    assert named(beats)["voiced_per_s"] == pytest.approx(2, abs=0.1)
    assert named(beats)["voiced_mean_s"] == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("wave", [np.zeros(1), np.zeros(20_000), np.ones(3), np.full(50, -1.0), 1e-9 * TIME_S, TIME_S])
def test_silence_and_a_single_sample_have_finite_statistics(wave):
    values = clip_statistics(wave.astype(np.float32), tuple(SET_SIZES))
    assert values.shape == (sum(SET_SIZES.values()),) and np.isfinite(values).all()


def test_sets_stand_one_behind_the_other_and_have_their_sizes():
    wave = voice(120).astype(np.float32)
    whole = clip_statistics(wave, ("mfcc", "functionals"))
    assert np.array_equal(whole[: SET_SIZES["mfcc"]], clip_statistics(wave, ("mfcc",)))
    assert len(functional_names()) == SET_SIZES["functionals"] == len(functionals(wave))
    with pytest.raises(ValueError, match="`sets` must be some of mfcc"):
        clip_statistics(wave, ("mfcc", "pitch"))
    with pytest.raises(ValueError, match="at least one sample"):
        functionals(np.zeros(0, np.float32))


def test_the_course_tells_a_rise_from_a_fall_and_the_other_sets_cannot():
    frames = np.repeat(np.arange(12.0)[:, None], 20, 1)
    rising, falling = course(frames), course(frames[::-1])
    assert np.all(np.diff(rising[::13]) > 0) and np.all(np.diff(falling[::13]) < 0)
    assert np.isfinite(course(frames[:2])).all()


def test_a_long_clip_is_measured_piece_by_piece_to_the_same_numbers(monkeypatch):
    wave = np.concatenate([voice(120), voice(240), 0.1 * np.random.default_rng(0).normal(size=8000)]).astype(np.float32)
    whole = functionals(wave)
    monkeypatch.setattr("sonolex.audio.statistics.FRAMES_AT_ONCE", 37)
    assert np.allclose(functionals(wave), whole, rtol=1e-9, atol=1e-9)
