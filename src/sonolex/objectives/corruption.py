"""Choose and corrupt tokens and segments of frames; no losses here.

Every function works on one clip with its own generator, so a clip's corruption depends on nothing but its seed;
`each_clip` runs one over a padded batch. Every clip keeps at least one chosen position: CTAL's
released code leaves half of all clips of 1.5 s without one, and drops them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sonolex.types import Padded


def each_clip(
    corrupt: Callable[..., tuple[Tensor, Tensor]],
    rows: Padded,
    generators: Sequence[Generator],
    **settings: Any,
) -> tuple[Tensor, Tensor]:
    """Return chosen_BT and the corrupted values of a batch on the CPU; padding and empty rows stay as they are.

    Args:
        corrupt: takes one clip's valid rows, ``settings`` and ``generator``; returns chosen_T and corrupted rows.
        rows: tokens (B, L) or frames (B, T, F).
    """
    assert rows.lengths is not None
    chosen_BT, corrupted_BT = torch.zeros_like(rows.valid), rows.values.clone()
    for i, (size, generator) in enumerate(zip(rows.lengths, generators, strict=True)):
        if size:
            own_T = rows.values[i, :size]
            chosen_BT[i, :size], corrupted_BT[i, :size] = corrupt(own_T, generator=generator, **settings)
    return chosen_BT, corrupted_BT


def choose_tokens(num_tokens: int, share: float, generator: Generator) -> Tensor:
    """Return chosen_L: each position with probability ``share``, at least one (none if there are no tokens)."""
    chosen_L = torch.rand(num_tokens, generator=generator) < share
    if num_tokens and not chosen_L.any():
        chosen_L[_below(num_tokens, generator)] = True
    return chosen_L


def corrupt_tokens(
    tokens_L: Tensor,
    chosen_L: Tensor,
    *,
    mask_id: int,
    first_word_id: int,
    vocab_size: int,
    generator: Generator,
    masked: float = 0.8,
    random: float = 0.1,
) -> Tensor:
    """Return tokens with the chosen ones 80 % masked, 10 % random, 10 % kept (or as set). Source: CTAL 3.2.1."""
    draw_L = torch.rand(len(tokens_L), generator=generator)
    random_L = torch.randint(first_word_id, vocab_size, (len(tokens_L),), generator=generator)
    corrupted_L = torch.where(chosen_L & (draw_L < masked), torch.full_like(tokens_L, mask_id), tokens_L)
    return torch.where(chosen_L & (draw_L >= masked) & (draw_L < masked + random), random_L, corrupted_L)


def corrupt_words(
    tokens_L: Tensor,
    *,
    share: float,
    mask_id: int,
    first_word_id: int,
    vocab_size: int,
    generator: Generator,
    masked: float = 0.8,
    random: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Return chosen_L and corrupted tokens of one transcript, whose start and end token are never chosen."""
    words = slice(1, max(1, len(tokens_L) - 1))
    chosen_L, corrupted_L = torch.zeros(len(tokens_L), dtype=torch.bool), tokens_L.clone()
    chosen_L[words] = choose_tokens(words.stop - words.start, share, generator)
    corrupted_L[words] = corrupt_tokens(
        tokens_L[words],
        chosen_L[words],
        mask_id=mask_id,
        first_word_id=first_word_id,
        vocab_size=vocab_size,
        generator=generator,
        masked=masked,
        random=random,
    )
    return chosen_L, corrupted_L


def corrupt_segments(
    frames_TF: Tensor, *, share: float, shortest: int, longest: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Return chosen_T and the corrupted frames of one clip, by segments. Source: CTAL section 3.2.2.

    The clip is split into segments of C frames, C uniform in [shortest, longest]; a share of the segments is chosen
    and each of them zeroed (80 %), replaced by C other frames of the clip (10 %) or kept (10 %).

    Differs: at least one segment is chosen; the number of segments is rounded at random so that its mean is ``share``;
    C is at most a quarter of the clip, so that a short clip is never hidden whole.
    """
    num_frames = len(frames_TF)
    length = _segment_length(num_frames, shortest, longest, generator)
    num_segments = -(-num_frames // length)
    wanted = share * num_segments
    num_chosen = max(1, int(wanted + float(torch.rand((), generator=generator))))
    chosen_T = torch.zeros(num_frames, dtype=torch.bool)
    corrupted_TF = frames_TF.clone()
    for segment in torch.randperm(num_segments, generator=generator)[:num_chosen].tolist():
        span = slice(segment * length, min((segment + 1) * length, num_frames))
        chosen_T[span] = True
        draw = float(torch.rand((), generator=generator))
        if draw < 0.8:
            corrupted_TF[span] = 0.0
        elif draw < 0.9:
            size = span.stop - span.start
            corrupted_TF[span] = frames_TF[torch.randint(num_frames, (size,), generator=generator)]
    return chosen_T, corrupted_TF


def corrupt_frames(
    frames_TF: Tensor, *, share: float, shortest: int, longest: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Return chosen_T and corrupted frames as CTAL's released code draws them (its data loader; not in the paper).

    Span starts are drawn over all frames and spans may overlap; the 80/10/10 choice is made frame by frame.
    Differs: at least one span, and the bound on C of `corrupt_segments`.
    """
    num_frames = len(frames_TF)
    length = _segment_length(num_frames, shortest, longest, generator)
    num_spans = max(1, round(share * num_frames / length))
    last_start = max(1, num_frames - length + 1)
    starts = torch.randperm(last_start, generator=generator)[:num_spans]
    chosen_T = torch.zeros(num_frames, dtype=torch.bool)
    for start in starts.tolist():
        chosen_T[start : start + length] = True
    draw_T = torch.rand(num_frames, generator=generator)
    others_TF = frames_TF[torch.randint(num_frames, (num_frames,), generator=generator)]
    corrupted_TF = torch.where((chosen_T & (draw_T < 0.8))[:, None], torch.zeros_like(frames_TF), frames_TF)
    replaced_T = chosen_T & (draw_T >= 0.8) & (draw_T < 0.9)
    return chosen_T, torch.where(replaced_T[:, None], others_TF, corrupted_TF)


def choose_runs(num_blocks: int, *, share: float, run: int, generator: Generator) -> Tensor:
    """Return chosen_N: each block starts a run of ``run`` with chance ``share``; at least one does. CALM section 4.5.

    Inside a long clip a block is chosen with 1 − (1 − share)^run: 27 % for 10 % and 3.
    """
    starts_N = torch.rand(num_blocks, generator=generator) < share
    if num_blocks and not starts_N.any():
        starts_N[_below(num_blocks, generator)] = True
    chosen_N = starts_N.clone()
    for later in range(1, min(run, num_blocks)):
        chosen_N[later:] |= starts_N[:-later]
    return chosen_N


def hide_runs(lengths: Sequence[int], generators: Sequence[Generator], *, share: float, run: int) -> Tensor:
    """Return hidden_BT: runs of ``run`` steps of each clip, of which ``share / run`` of the steps start one.

    HuBERT's and SpeechT5's masking: share 0.8 and runs of 10.
    """
    hidden = [choose_runs(n, share=share / run, run=run, generator=g) for n, g in zip(lengths, generators, strict=True)]
    longest = max([1, *lengths])
    return torch.stack([F.pad(hidden_T, (0, longest - len(hidden_T))) for hidden_T in hidden])


def infill(
    tokens_L: Tensor,
    *,
    share: float,
    mean_run: float,
    random: float,
    mask_id: int,
    words: tuple[int, int],
    generator: Generator,
) -> Tensor:
    """Return tokens of which runs are one mask each, and of the rest some are random. The last token always stays.

    Runs have Poisson lengths (0 inserts a mask) and hide ``share`` of the tokens. Source: BART's text infilling as
    SpeechT5 uses it in text pre-training.

    Args:
        random: share of the other tokens that are replaced by one from ``words`` (first, and one after the last).
    """
    kept, wanted = tokens_L.tolist(), round(share * (len(tokens_L) - 1))
    while wanted > 0 and len(kept) > 1:
        run = min(wanted, int(torch.poisson(torch.tensor(mean_run), generator=generator)), len(kept) - 1)
        start = _below(len(kept) - run, generator)
        kept[start : start + run] = [mask_id]
        wanted -= max(1, run)
    infilled_L = torch.tensor(kept)
    draw_L = torch.rand(len(kept), generator=generator)
    other_L = torch.randint(*words, (len(kept),), generator=generator)
    changed_L = (draw_L < random) & (infilled_L != mask_id)
    changed_L[-1] = False
    return torch.where(changed_L, other_L, infilled_L)


def choose_patches(
    num_columns: int, num_rows: int, share: float, *, sampler: str, sides: tuple[int, int], generator: Generator
) -> Tensor:
    """Return chosen_P of one clip's patches (time first): round(share · P) of them, at least 1, leaving one if it can.

    Args:
        sampler: "cluster" grows squares around centres anywhere on the grid, so that edges are chosen as often as the
            middle, and drops surplus patches of the last square at random; "ssast_code" does as
            SSAST's released code: squares wrap into the next row, the first patch is never chosen, high bands are
            chosen less often; "uniform" chooses patches one by one.
        sides: smallest and largest side of a square. SSAST: 3 to 5, one side a clip.

    Raises:
        ValueError: an unknown sampler.
    """
    num_patches = num_columns * num_rows
    num_chosen = min(max(1, round(share * num_patches)), max(1, num_patches - 1))
    side = sides[0] + _below(sides[1] - sides[0] + 1, generator)
    if sampler == "uniform":
        ids = torch.randperm(num_patches, generator=generator)[:num_chosen]
    elif sampler == "cluster":
        ids = _cluster_ids(num_columns, num_rows, num_chosen, side, generator)
    elif sampler == "ssast_code":
        ids = _released_cluster_ids(num_columns, num_rows, num_chosen, side, generator)
    else:
        raise ValueError(f"`sampler` must be cluster, ssast_code or uniform, but is {sampler!r}.")
    chosen_P = torch.zeros(num_patches, dtype=torch.bool)
    chosen_P[ids] = True
    return chosen_P


def hide_patches(
    columns_B: Sequence[int],
    num_rows: int,
    generators: Sequence[Generator],
    *,
    share: float,
    sampler: str,
    sides: tuple[int, int] = (3, 5),
) -> Tensor:
    """Return hidden_BP: the patches that `choose_patches` draws of each clip, padded to the longest clip's.

    Args:
        columns_B: patches along time of each clip.
        num_rows: patches from the lowest to the highest band.
    """
    rows = []
    for columns, generator in zip(columns_B, generators, strict=True):
        hidden_P = choose_patches(columns, num_rows, share, sampler=sampler, sides=sides, generator=generator)
        rows.append(F.pad(hidden_P, (0, (max(columns_B) - columns) * num_rows)))
    return torch.stack(rows)


def _cluster_ids(num_columns: int, num_rows: int, num_chosen: int, side: int, generator: Generator) -> Tensor:
    """Return patches of squares whose first corner may lie off the grid: every patch is in a square equally often."""
    chosen_CR = torch.zeros(num_columns, num_rows, dtype=torch.bool)
    while True:
        column = _below(num_columns + side - 1, generator) - side + 1
        row = _below(num_rows + side - 1, generator) - side + 1
        square = (slice(max(0, column), column + side), slice(max(0, row), row + side))
        new_CR = torch.zeros_like(chosen_CR)
        new_CR[square] = True
        new = (new_CR & ~chosen_CR).flatten().nonzero()[:, 0]
        num_missing = num_chosen - int(chosen_CR.sum())
        if len(new) >= num_missing:
            last = new[torch.randperm(len(new), generator=generator)[:num_missing]]
            return torch.cat([chosen_CR.flatten().nonzero()[:, 0], last])
        chosen_CR |= new_CR


def _released_cluster_ids(num_columns: int, num_rows: int, num_chosen: int, side: int, generator: Generator) -> Tensor:
    """Return patches of squares over ids that run along time, then band: squares wrap, and the lowest ids are kept."""
    num_patches = num_columns * num_rows
    if num_chosen > num_patches - 2:
        raise ValueError(
            f"sampler='ssast_code' can choose at most {num_patches - 2} of {num_patches} patches, but must choose "
            f"{num_chosen}: the released code never ends here. Lower the share."
        )
    chosen: set[int] = set()
    offsets = [i * num_columns + j for i in range(side) for j in range(side)]
    while len(chosen) <= num_chosen:
        start = _below(num_patches, generator)
        chosen |= {start + o for o in offsets if 0 < start + o < num_patches}
    ids = torch.tensor(sorted(chosen)[:num_chosen])
    return ids % num_columns * num_rows + ids // num_columns  # (band, time) order to (time, band) order


def _segment_length(num_frames: int, shortest: int, longest: int, generator: Generator) -> int:
    drawn = shortest + _below(longest - shortest + 1, generator)
    return min(drawn, max(1, num_frames // 4))


def _below(bound: int, generator: Generator) -> int:
    return int(torch.randint(bound, (), generator=generator))
