from __future__ import annotations

import math

import pytest
import torch

from sonolex.audio import views


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MEL = torch.randn(50, 20, generator=generator(9))


def test_no_views_change_nothing():
    assert views.Views().apply(MEL, generator()) is MEL


def test_one_generator_state_gives_one_view():
    everything = views.Views(0.2, 0.2, 6, 6, 5, 2, 0.2, 2, 5, 0.3)
    assert torch.equal(everything.apply(MEL, generator(1)), everything.apply(MEL, generator(1)))
    assert not torch.equal(everything.apply(MEL, generator(1))[:5], everything.apply(MEL, generator(2))[:5])


def test_gain_adds_a_constant_of_at_most_its_decibels():
    changed = views.Views(gain_db=6).apply(MEL, generator()) - MEL
    assert changed.std() < 1e-5 and 0 < changed.abs().max() <= 6 * 0.2303


def test_stretching_keeps_the_ends_and_changes_the_length():
    assert views.stretch_time(MEL, 1.4).shape == (70, 20)
    assert torch.allclose(views.stretch_time(MEL, 1.4)[[0, -1]], MEL[[0, -1]], atol=1e-5)
    assert torch.allclose(views.stretch_time(MEL, 1.0), MEL, atol=1e-6)
    assert len(views.stretch_time(MEL[:1], 0.5)) == 1


def test_warping_moves_a_peak_by_its_factor_and_one_changes_nothing():
    peak = torch.zeros(3, 40)
    peak[:, 20] = 1.0
    assert int(views.warp_mel(peak, 1.25)[0].argmax()) == 16
    assert torch.allclose(views.warp_mel(MEL, 1.0), MEL, atol=1e-5)


@pytest.mark.parametrize("factor", [0.7, 0.8, 1.2, 1.4])
def test_warping_keeps_both_ends_of_the_axis_and_the_order_of_bands(factor):
    ramp = torch.arange(64.0).repeat(2, 1)  # a band's value is its number, so the output says where it came from
    came_from = views.warp_mel(ramp, factor)[0]
    assert came_from[0] == 0 and came_from[-1] == pytest.approx(63, abs=1e-3)
    assert (came_from.diff() > 0).all()
    assert came_from[20] == pytest.approx(20 * factor, abs=1e-3)


def test_noise_raises_power_and_never_lowers_it():
    noisy = views.mix_noise(MEL, 0.0, generator())
    assert (noisy >= MEL - 1e-5).all() and (noisy > MEL + 0.01).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_masks_stay_within_the_axis_even_when_they_are_wider(axis):
    for seed in range(30):
        masked = views.mask_band(MEL, axis, 10_000, generator(seed))
        assert masked.shape == MEL.shape
    assert torch.equal(views.mask_band(MEL, axis, 0, generator()), MEL)


def test_cropping_leaves_at_least_its_share():
    for seed in range(30):
        assert 35 <= len(views.crop_ends(MEL, 0.3, generator(seed))) <= 50
    assert len(views.crop_ends(MEL[:1], 0.9, generator())) == 1


def test_impossible_views_are_refused():
    with pytest.raises(ValueError, match="speed"):
        views.Views(speed=1.5)


def test_a_pause_is_made_of_the_quietest_frames_and_the_clip_stays_whole():
    quiet = torch.cat([MEL, torch.full((6, 20), -30.0)])
    for seed in range(30):
        padded = views.pad_ends(quiet, 0.5, generator(seed))
        assert 56 <= len(padded) <= 84
        start = next(i for i in range(len(padded)) if torch.equal(padded[i : i + 56], quiet))
        assert (padded[:start] == -30).all() and (padded[start + 56 :] == -30).all()


def test_mixing_adds_powers_and_keeps_the_first_clips_length():
    first, other = torch.zeros(5, 3), torch.full((2, 3), 1.0)
    mixed = views.mix_clips(first, other, 0.5)
    assert mixed[0, 0].item() == pytest.approx(math.log(0.25 + 0.25 * math.e))
    assert mixed[4, 0].item() == pytest.approx(math.log(0.25)) and mixed.shape == first.shape
    assert torch.equal(views.mix_clips(first, other, 1.0), first)


def test_noise_on_the_logarithm_is_bounded_and_rolling_loses_nothing():
    noisy = views.Views(log_noise=0.5).apply(MEL, generator()) - MEL
    assert noisy.min() >= 0 and noisy.max() <= 0.5 and noisy.std() > 0
    rolled = views.Views(roll_frames=10).apply(MEL, generator(2))
    assert not torch.equal(rolled, MEL) and torch.equal(rolled.sort(0).values, MEL.sort(0).values)
