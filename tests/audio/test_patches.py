from __future__ import annotations

import pytest
import torch

from sonolex.audio.patches import Grid, cut_patches, join_patches
from sonolex.types import Padded

PATCH, FRAME = Grid(), Grid(frames=2, bins=128)


def test_counts_are_those_of_the_papers():
    assert PATCH.num_patches(512) == FRAME.num_patches(512) == 256  # SSAST on ESC-50
    assert PATCH.num_patches(1024) == 512 and PATCH.num_patches(128) == 64
    overlapping = Grid(stride_frames=10, stride_bins=10, partial="drop")
    assert (overlapping.num_rows, overlapping.num_columns(1024)) == (12, 101)  # AST on AudioSet


def test_no_frame_is_lost_unless_dropping_is_asked_for():
    assert [PATCH.num_columns(n) for n in (0, 1, 16, 17, 32, 33)] == [0, 1, 1, 2, 2, 3]
    dropping = Grid(partial="drop")
    assert [dropping.num_columns(n) for n in (0, 1, 16, 17, 31, 32)] == [0, 1, 1, 1, 1, 2]


def test_a_patch_holds_its_frames_and_bands_in_order():
    grid = Grid(frames=2, bins=2, num_mels=4)
    frames = torch.arange(16.0).reshape(1, 4, 4)  # frame t has bands 4t … 4t + 3
    patches, valid, lengths = cut_patches(Padded.of(frames, torch.ones(1, 4, dtype=torch.bool)), grid)
    assert patches[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert valid.all() and lengths == (4,)


@pytest.mark.parametrize(
    "grid", [PATCH, FRAME, Grid(stride_frames=10, stride_bins=10), Grid(partial="drop"), Grid(stride_frames=5)]
)
def test_padding_changes_no_patch(grid):
    torch.manual_seed(0)
    clips = [torch.randn(n, 128) for n in (3, 40, 57)]
    together = torch.full((3, 90, 128), 9.0)
    valid = torch.zeros(3, 90, dtype=torch.bool)
    for i, clip in enumerate(clips):
        together[i, : len(clip)], valid[i, : len(clip)] = clip, True
    patches, patches_valid, lengths = cut_patches(Padded.of(together, valid), grid)
    for i, clip in enumerate(clips):
        alone, alone_valid, _ = cut_patches(Padded.of(clip[None], torch.ones(1, len(clip), dtype=torch.bool)), grid)
        assert patches_valid[i].sum() == alone_valid.sum() == grid.num_patches(len(clip)) == lengths[i]
        assert torch.equal(patches[i, : alone.shape[1]], alone[0])


def test_joining_undoes_cutting():
    frames = torch.randn(2, 48, 128)
    for grid in (PATCH, FRAME):
        patches, *_ = cut_patches(Padded.of(frames, torch.ones(2, 48, dtype=torch.bool)), grid)
        assert torch.equal(join_patches(patches, grid), frames)
    with pytest.raises(ValueError, match="overlap"):
        join_patches(patches, Grid(stride_frames=10))


@pytest.mark.parametrize("options", [{"frames": 0}, {"bins": 200}, {"stride_bins": -1}, {"partial": "cut"}])
def test_impossible_grids_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        Grid(**options)


def test_another_number_of_bands_is_refused():
    with pytest.raises(ValueError, match="128 bands"):
        cut_patches(Padded.of(torch.zeros(1, 20, 64), torch.ones(1, 20, dtype=torch.bool)), PATCH)
