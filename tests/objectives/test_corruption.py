from __future__ import annotations

import pytest
import torch

from sonolex.objectives import corruption
from sonolex.types import Padded


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_token_share_is_fifteen_percent_and_the_split_eighty_ten_ten():
    tokens = torch.arange(5, 40_005)
    chosen = corruption.choose_tokens(len(tokens), 0.15, generator(0))
    out = corruption.corrupt_tokens(
        tokens, chosen, mask_id=4, first_word_id=5, vocab_size=40_005, generator=generator(1)
    )
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert torch.equal(out[~chosen], tokens[~chosen])
    assert (out[chosen] == 4).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (out[chosen] == tokens[chosen]).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert int(out.min()) >= 4


@pytest.mark.parametrize("num_tokens", [1, 2, 7])
def test_at_least_one_token_is_chosen(num_tokens):
    assert all(corruption.choose_tokens(num_tokens, 0.01, generator(s)).any() for s in range(50))


def test_no_tokens_give_no_choice():
    assert corruption.choose_tokens(0, 0.15, generator(0)).shape == (0,)


@pytest.mark.parametrize("corrupt", [corruption.corrupt_segments, corruption.corrupt_frames])
@pytest.mark.parametrize("num_frames", [80, 160, 400, 1500])
def test_about_fifteen_percent_of_frames_are_chosen_at_every_length(corrupt, num_frames):
    """The released code leaves a clip of 80 frames without a mask 87 times in 100 (simulated)."""
    frames = torch.randn(num_frames, 4)
    shares = []
    for seed in range(300):
        chosen, corrupted = corrupt(frames, share=0.15, shortest=20, longest=50, generator=generator(seed))
        assert chosen.any() and torch.equal(corrupted[~chosen], frames[~chosen])
        shares.append(chosen.float().mean().item())
    low, high = (0.12, 0.27) if num_frames < 200 else (0.12, 0.18)
    assert low < sum(shares) / len(shares) < high


def test_segments_are_zeroed_replaced_or_kept_as_a_whole():
    frames = torch.randn(400, 3) + 5.0
    kinds = {"zero": 0, "kept": 0, "replaced": 0}
    for seed in range(600):
        chosen, corrupted = corruption.corrupt_segments(
            frames, share=0.01, shortest=20, longest=20, generator=generator(seed)
        )
        assert int(chosen.sum()) == 20  # one whole segment
        inside, before = corrupted[chosen], frames[chosen]
        if (inside == 0).all():
            kinds["zero"] += 1
        elif torch.equal(inside, before):
            kinds["kept"] += 1
        else:
            assert (inside != 0).all()  # frames of the clip itself, never zeros
            kinds["replaced"] += 1
    assert kinds["zero"] / 600 == pytest.approx(0.8, abs=0.06)
    assert kinds["kept"] / 600 == pytest.approx(0.1, abs=0.05)


def test_a_clip_is_never_hidden_whole():
    for num_frames in (8, 20, 34, 50):
        for seed in range(100):
            chosen, _ = corruption.corrupt_segments(
                torch.randn(num_frames, 2), share=0.15, shortest=20, longest=50, generator=generator(seed)
            )
            assert int(chosen.sum()) <= num_frames // 2


def test_a_clip_is_corrupted_the_same_in_every_batch():
    """Padding and neighbours change nothing; empty rows and padding are left alone."""
    words = {"share": 0.3, "mask_id": 4, "first_word_id": 5, "vocab_size": 50}
    clip = torch.randint(5, 50, (9,))
    alone_chosen, alone = corruption.corrupt_words(clip, generator=generator(3), **words)
    rows, valid = torch.ones(3, 14, dtype=torch.long), torch.zeros(3, 14, dtype=torch.bool)
    rows[1, :9], valid[1, :9] = clip, True
    rows[2], valid[2] = 7, True
    generators = [generator(s) for s in (1, 3, 2)]
    chosen, corrupted = corruption.each_clip(corruption.corrupt_words, Padded.of(rows, valid), generators, **words)
    assert torch.equal(chosen[1, :9], alone_chosen) and torch.equal(corrupted[1, :9], alone)
    assert not chosen[0].any() and torch.equal(corrupted[0], rows[0])
    assert not chosen[1, 9:].any() and torch.equal(corrupted[1, 9:], rows[1, 9:])


def test_start_and_end_tokens_are_never_chosen():
    for size in (2, 3, 6):
        words = torch.arange(10, 10 + size)
        for seed in range(30):
            chosen, corrupted = corruption.corrupt_words(
                words, share=1.0, mask_id=4, first_word_id=5, vocab_size=50, generator=generator(seed)
            )
            assert chosen.tolist() == [False, *[True] * (size - 2), False]
            assert corrupted[0] == words[0] and corrupted[-1] == words[-1]


@pytest.mark.parametrize("sampler", ["cluster", "ssast_code", "uniform"])
@pytest.mark.parametrize(("columns", "rows", "share"), [(32, 8, 100 / 256), (32, 8, 250 / 256), (64, 8, 400 / 512)])
def test_patches_are_chosen_in_the_wanted_number(sampler, columns, rows, share):
    chosen = corruption.choose_patches(columns, rows, share, sampler=sampler, sides=(3, 5), generator=generator(1))
    again = corruption.choose_patches(columns, rows, share, sampler=sampler, sides=(3, 5), generator=generator(1))
    assert chosen.sum() == round(share * columns * rows) and torch.equal(chosen, again)


def test_clusters_choose_every_patch_about_equally_often_and_the_released_ones_do_not():
    def shares(sampler):
        drawn = [
            corruption.choose_patches(16, 8, 0.5, sampler=sampler, sides=(3, 5), generator=generator(s))
            for s in range(400)
        ]
        return torch.stack(drawn).float().mean(0).reshape(16, 8)

    ours, released = shares("cluster"), shares("ssast_code")
    assert ours.min() > 0.4 and ours.max() < 0.6
    assert released[0, 0] == 0 and released.mean(0)[-1] < 0.75 * released.mean(0)[3]


def test_clusters_are_clusters():
    chosen = corruption.choose_patches(32, 8, 0.3, sampler="cluster", sides=(4, 4), generator=generator(3))
    alone = corruption.choose_patches(32, 8, 0.3, sampler="uniform", sides=(4, 4), generator=generator(3))

    def neighbours(chosen_P):
        grid = chosen_P.reshape(32, 8)
        return (grid[1:] & grid[:-1]).sum().item()

    assert neighbours(chosen) > 1.5 * neighbours(alone)


def test_a_clip_of_one_patch_hides_it_and_others_leave_one():
    def one(columns, rows, share, sampler="cluster"):
        return corruption.choose_patches(columns, rows, share, sampler=sampler, sides=(3, 5), generator=generator(0))

    assert one(1, 1, 0.5).tolist() == [True]
    assert one(2, 2, 1.0).sum() == 3 and one(2, 2, 0.01).sum() == 1
    with pytest.raises(ValueError, match="never ends"):
        one(32, 8, 255 / 256, sampler="ssast_code")
    with pytest.raises(ValueError, match="sampler"):
        one(4, 4, 0.5, sampler="blocks")


def test_hidden_runs_and_patches_of_a_batch_are_those_of_each_clip_alone():
    def generators():
        return [generator(seed) for seed in (1, 2, 3)]

    together = corruption.hide_runs((9, 0, 4), generators(), share=0.6, run=3)
    assert together.shape == (3, 9) and not together[1].any() and not together[2, 4:].any()
    for row, length, own in zip(together, (9, 0, 4), generators(), strict=True):
        assert torch.equal(row[:length], corruption.choose_runs(length, share=0.6 / 3, run=3, generator=own))
    together = corruption.hide_patches((6, 2, 4), 3, generators(), share=0.5, sampler="cluster")
    assert together.shape == (3, 18)
    for row, columns, own in zip(together, (6, 2, 4), generators(), strict=True):
        alone = corruption.choose_patches(columns, 3, 0.5, sampler="cluster", sides=(3, 5), generator=own)
        assert torch.equal(row[: columns * 3], alone) and not row[columns * 3 :].any()
