"""Dropout from random bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sonolex.nn.dropout import (
    Dropout,
    drawn_apart,
    drawn_for,
    drawn_from,
    drawn_in_parts,
    number_dropouts,
    random_numbers,
    replace_dropout,
)
from sonolex.nn.transformer import attend

CPU = torch.device("cpu")


def masks(shape, seeds, *, probability=0.5, calls=1):
    """What is left of ones, in each call."""
    with drawn_from(seeds, CPU):
        dropout = Dropout(probability)
        return [dropout(torch.ones(shape)) for _ in range(calls)]


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.003])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_many_values_are_dropped_as_asked_and_the_mean_stays(probability, dtype):
    torch.manual_seed(0)
    x = torch.ones(1001, 999, dtype=dtype)  # no multiple of what is drawn at once
    out = Dropout(probability)(x)
    dropped = (out == 0).float().mean().item()
    spread = (probability * (1 - probability) / x.numel()) ** 0.5
    assert dropped == pytest.approx(probability, abs=5 * spread) and out.dtype == dtype
    assert (out[out != 0].float() - 1 / (1 - probability)).abs().max() < 1e-2
    alike = (out == 0).float()
    assert (alike[:, 1:] * alike[:, :-1]).mean().item() == pytest.approx(probability**2, abs=5 * spread)


def test_a_seed_repeats_it_and_gradients_go_where_values_went():
    x = torch.randn(7, 5, requires_grad=True)
    outs = []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(Dropout(0.5)(x))
    assert torch.equal(*outs) and not torch.equal(outs[0], Dropout(0.5)(x))
    outs[0].sum().backward()
    assert torch.equal(x.grad == 0, outs[0] == 0) and x.grad.max() == 2


def test_nothing_is_dropped_in_evaluation_or_at_nought_and_everything_at_one():
    x = torch.randn(4, 3)
    assert Dropout(0.5).eval()(x) is x and torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(4, 3)) and Dropout(0.5)(x[:0]).shape == (0, 3)


def test_a_probability_that_rounds_to_one_drops_nearly_everything():
    """Seen before: its 65536 is 0 in 16 bits, and everything was kept."""
    assert (Dropout(1 - 1e-6)(torch.ones(100, 100)) == 0).float().mean() > 0.99


def test_another_librarys_dropout_is_replaced_wherever_it_lies():
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.2), Dropout(0.3)))
    replace_dropout(module)
    assert [(type(m), m.p) for m in module.modules() if isinstance(m, nn.Dropout)] == [(Dropout, 0.2), (Dropout, 0.3)]


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.003])
def test_dropout_by_clip_drops_as_many_as_asked_and_no_two_places_alike(probability):
    """Neighbours along every axis, rows of neighbouring seeds, and calls: their masks are independent of each other."""
    first, second = masks((64, 50, 303), range(64), probability=probability, calls=2)
    dropped = (first == 0).double()
    assert (first[first != 0] - 1 / (1 - probability)).abs().max() < 1e-5
    spread = (probability * (1 - probability) / dropped.numel()) ** 0.5
    assert dropped.mean().item() == pytest.approx(probability, abs=5 * spread)
    # the share of every feature, every place and every clip
    for axis in range(3):
        shares = dropped.flatten(0, 1).mean(0) if axis == 2 else dropped.transpose(0, axis).flatten(1).mean(1)
        own = (probability * (1 - probability) / (dropped.numel() / len(shares))) ** 0.5
        assert (shares - probability).abs().max() < 5 * own
        if probability > 0.01:
            assert 0.6 * own < shares.std() < 1.5 * own
    pairs = [(dropped.narrow(a, lag, dropped.shape[a] - lag), dropped.narrow(a, 0, dropped.shape[a] - lag))
             for a in range(3) for lag in (1, 2, 3, 4, 8, 16, 32)]  # fmt: skip
    pairs.append(((second == 0).double(), dropped))
    for one, other in pairs:
        both = (one * other).mean().item()
        assert both == pytest.approx(probability**2, abs=6 * probability / one.numel() ** 0.5)


def test_a_longer_row_drops_what_a_shorter_one_does_and_so_does_every_block_of_attention():
    (long,), (short,) = masks((2, 9, 7), (5, 6)), masks((1, 4, 7), (6,))
    assert torch.equal(long[1:, :4], short)
    (long,), (short,) = masks((2, 3, 9, 11), (5, 6)), masks((1, 3, 4, 5), (6,))
    assert torch.equal(long[1:, :, :4, :5], short)


def test_parts_of_a_sequence_drop_the_same_however_far_each_is_padded():
    def joined(*lengths):
        with drawn_from((5,), CPU), drawn_in_parts(*lengths):
            total, dropout = sum(lengths), Dropout(0.5)
            return dropout(torch.ones(1, total, 8)), dropout(torch.ones(1, 2, total, total))

    states, weights = joined(3, 5)
    padded_states, padded_weights = joined(6, 9)
    kept = [0, 1, 2, 6, 7, 8, 9, 10]
    assert torch.equal(padded_states[:, kept], states)
    assert torch.equal(padded_weights[:, :, kept][..., kept], weights)
    alone, _ = joined(3)
    assert torch.equal(alone, states[:, :3])
    with drawn_from((5,), CPU), drawn_in_parts(3, 5), pytest.raises(ValueError, match=r"of 3 \+ 5, but .* \(1, 9, 8\)"):
        Dropout(0.5)(torch.ones(1, 9, 8))


def test_windows_and_passes_draw_their_own_and_a_clips_first_window_draws_as_the_clip():
    with drawn_from((5, 6), CPU):
        dropout = Dropout(0.5)
        whole = dropout(torch.ones(2, 40))
        with drawn_apart("text"):
            other = dropout(torch.ones(2, 40))
        with drawn_apart("text"):
            assert torch.equal(other, dropout(torch.ones(2, 40)))
    assert not torch.equal(other, whole)
    with drawn_from((5, 6), CPU), drawn_for((0, 0, 1), (0, 3, 0)):
        windows = Dropout(0.5)(torch.ones(3, 40))
    assert torch.equal(windows[[0, 2]], whole) and not torch.equal(windows[0], windows[1])


def test_rows_that_are_no_clips_are_refused():
    with drawn_from((1, 2, 3), CPU), pytest.raises(ValueError, match=r"3 rows, but gets \(6, 4\)"):
        Dropout(0.5)(torch.ones(6, 4))


def test_modules_of_a_model_drop_apart_and_outside_a_training_step_as_torch_does():
    model = nn.Sequential(Dropout(0.5), Dropout(0.5))
    number_dropouts(model)
    with drawn_from((1,), CPU):
        assert not torch.equal(*(part(torch.ones(1, 64)) for part in model))
    torch.manual_seed(0)
    first = Dropout(0.5)(torch.ones(1, 64))
    with drawn_from((1,), CPU):
        before = torch.get_rng_state()
        Dropout(0.5)(torch.ones(1, 64))
        assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(0)
    assert torch.equal(first, Dropout(0.5)(torch.ones(1, 64)))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_by_clip_is_torchs_where_nothing_is_dropped(masked):
    query, key, value = (torch.randn(2, 3, n, 8) for n in (5, 7, 7))
    attends = torch.rand(2, 1, 1, 7) > 0.3 if masked else None
    expected = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attends)
    with drawn_from((1, 2), CPU):
        found = attend(query, key, value, attends, dropout=Dropout(1e-9))  # rounds to nothing, on the way of something
        dropped = attend(query, key, value, attends, dropout=Dropout(0.5))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(dropped, expected, atol=1e-2)


def test_random_numbers_are_a_clips_own_and_no_two_alike():
    with drawn_from((1, 2), CPU):
        numbers = random_numbers(torch.ones(2, 500))
    with drawn_from((2,), CPU):
        assert torch.equal(random_numbers(torch.ones(1, 90))[0], numbers[1, :90])
    assert numbers.unique().numel() == 1000 and 0.4 < (numbers > 0).double().mean() < 0.6
    assert random_numbers(torch.ones(2, 3)).shape == (2, 3)
