"""NT-Xent and GE2E by hand, against plain loops over rows, and where a row has nothing to be compared with."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sonolex.objectives.contrastive import ge2e_sum, nt_xent_sum

UNIT = torch.nn.CosineSimilarity(dim=0)


def test_nt_xent_by_hand():
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    positives = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    root = 2**-0.5
    scores = torch.tensor([[1.0, root, 0.0], [0.0, root, 1.0], [root, 1.0, root]]) / 0.5
    every = scores.exp()
    own = scores.diagonal()
    with_positive = (every.sum(1).log() - own).sum()
    found, count = nt_xent_sum(anchors, positives, temperature=0.5, symmetric=False)
    assert count == 3
    assert float(found) == pytest.approx(float(with_positive), rel=1e-5)
    both = (with_positive + (every.sum(0).log() - own).sum()) / 2
    assert float(nt_xent_sum(anchors, positives, temperature=0.5)[0]) == pytest.approx(float(both), rel=1e-5)
    others = every - torch.diag(every.diagonal())
    as_printed = (others.sum(1).log() - own).sum()
    options = {"temperature": 0.5, "symmetric": False, "denominator": "without_positive"}
    assert float(nt_xent_sum(anchors, positives, **options)[0]) == pytest.approx(float(as_printed), rel=1e-5)


def nt_xent_in_a_loop(anchors, positives, same, *, temperature, denominator, symmetric):
    """CALM eq. 2, one row and one other at a time; rows without a negative are left out."""
    total, count, rows = 0.0, 0, range(len(anchors))
    for i in rows:
        negatives = [j for j in rows if j != i and not same[i][j]]
        if not negatives:
            continue
        count += 1
        compared = negatives + ([i] if denominator == "with_positive" else [])
        own = float(UNIT(anchors[i], positives[i])) / temperature
        forward = sum(math.exp(float(UNIT(anchors[i], positives[j])) / temperature) for j in compared)
        backward = sum(math.exp(float(UNIT(anchors[j], positives[i])) / temperature) for j in compared)
        sides = (forward, backward) if symmetric else (forward,)
        total += sum(math.log(side) - own for side in sides) / len(sides)
    return total, count


@pytest.mark.parametrize("denominator", ["with_positive", "without_positive"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("groups", [range(7), (0, 0, 1, 2, 2, 2, 3), (0,) * 7, (0,)])
def test_nt_xent_is_that_of_a_loop(groups, symmetric, denominator):
    groups = torch.tensor(groups)
    anchors, positives = torch.randn(2, len(groups), 6, generator=torch.Generator().manual_seed(0)).unbind(0)
    same = groups[:, None] == groups
    options = {"temperature": 0.3, "denominator": denominator, "symmetric": symmetric}
    expected, expected_count = nt_xent_in_a_loop(anchors, positives, same.tolist(), **options)
    found, count = nt_xent_sum(anchors, positives, same_NN=same, **options)
    assert count == expected_count
    assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("denominator", ["with_positive", "without_positive"])
def test_rows_that_are_apart_from_all_others_change_neither_loss_nor_gradient(denominator):
    """A clip that lacks one of the two vectors stays in the matrix: it may say nothing, and nothing infinite."""
    anchors, positives = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0)).unbind(0)
    known = torch.tensor([True, False, True, True, False])
    anchors[1], positives[4] = 0.0, 0.0
    apart = ~(known[:, None] & known)
    found, gradients = [], []
    for rows, same in ((torch.arange(5), apart), (known.nonzero()[:, 0], None)):
        pair = [x[rows].requires_grad_() for x in (anchors, positives)]
        loss, count = nt_xent_sum(*pair, temperature=0.1, same_NN=same, denominator=denominator)
        loss.backward()
        found.append((loss.item(), int(count)))
        gradients.append([x.grad for x in pair])
    assert found[0] == (pytest.approx(found[1][0], rel=1e-6), 3)
    for whole, part in zip(*gradients, strict=True):
        assert torch.allclose(whole[known], part, atol=1e-6) and not whole[~known].any()


def test_without_the_positive_the_loss_has_no_lower_bound():
    rows = torch.eye(3)
    losses = [
        float(nt_xent_sum(rows, rows, temperature=t, denominator="without_positive")[0]) for t in (0.1, 0.01, 0.001)
    ]
    assert losses[0] < -20 and losses[1] < 5 * losses[0] and losses[2] < 5 * losses[1]
    assert float(nt_xent_sum(rows, rows, temperature=0.001)[0]) >= 0


def test_clips_with_one_transcript_are_no_negatives_of_each_other():
    anchors, positives = torch.randn(4, 8), torch.randn(4, 8)
    same = torch.zeros(4, 4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    found, _ = nt_xent_sum(anchors, positives, temperature=0.1, same_NN=same)
    scores = torch.nn.functional.cosine_similarity(anchors[:, None], positives[None], dim=-1) / 0.1
    kept = scores.masked_fill(same, -torch.inf)
    by_hand = ((kept.logsumexp(1) + kept.logsumexp(0)) / 2 - scores.diagonal()).sum()
    assert float(found) == pytest.approx(float(by_hand), rel=1e-5)
    everything_same = torch.ones(4, 4, dtype=torch.bool)
    assert nt_xent_sum(anchors, positives, temperature=0.1, same_NN=everything_same)[1] == 0


def test_an_unknown_denominator_is_refused():
    with pytest.raises(ValueError, match="sideways"):
        nt_xent_sum(torch.eye(2), torch.eye(2), temperature=0.1, denominator="sideways")


def ge2e(vectors, speakers, *, scale, offset):
    """The loss of vectors whose speakers have these numbers, -1 where nobody knows whose they are."""
    speakers = torch.tensor(speakers)
    return ge2e_sum(vectors, speakers[:, None] == speakers, speakers >= 0, scale=scale, offset=offset)


def test_ge2e_by_hand():
    """Two speakers of two clips and one of one, whose clip is only compared with."""
    vectors = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0], [-1.0, 0.0]]), dim=-1)
    speakers = [4, 4, 7, 7, 9]
    scale, offset = torch.tensor(2.0), torch.tensor(0.5)
    means = {4: vectors[:2].mean(0), 7: vectors[2:4].mean(0), 9: vectors[4]}
    total = 0.0
    for i in range(4):
        own = speakers[i]
        centres = means | {own: vectors[i ^ 1]}  # of its own speaker: the only other clip
        scores = {s: 2.0 * float(F.cosine_similarity(vectors[i], c, dim=0)) + 0.5 for s, c in centres.items()}
        total += math.log(sum(math.exp(v) for v in scores.values())) - scores[own]
    loss, count = ge2e(vectors, speakers, scale=scale, offset=offset)
    assert count == 4 and loss.item() == pytest.approx(total, rel=1e-5)
    assert ge2e(vectors[:2], speakers[:2], scale=scale, offset=offset)[1] == 0
    assert ge2e(vectors[[0, 2]], [4, 7], scale=scale, offset=offset)[1] == 0


def ge2e_in_a_loop(vectors, speakers, *, scale, offset):
    """Wan et al. 2018, eq. 5, 6 and 8, one vector and one speaker at a time."""
    total, count = 0.0, 0
    rows = [i for i, speaker in enumerate(speakers) if speaker >= 0]
    names = {speakers[i] for i in rows}
    for i in rows:
        scores = {}
        for name in names:
            its = [vectors[j] for j in rows if speakers[j] == name and j != i]
            if its:
                scores[name] = float(scale * UNIT(vectors[i], torch.stack(its).mean(0)) + offset)
        if speakers[i] in scores and len(scores) > 1:
            count += 1
            total += math.log(sum(math.exp(score) for score in scores.values())) - scores[speakers[i]]
    return total, count


@pytest.mark.parametrize(
    "speakers",
    [
        (0, 0, 1, 1, 2, 2, 2),
        (5, 3, 5, -1, 9, 3, -1, 5, 7),  # two of nobody, and two speakers with one vector
        (4, 4, 4),
        (1, 2, 3),
        (6, -1, 6, -1),
        (-1, -1),
        (),
    ],
)
def test_ge2e_is_that_of_a_loop_and_its_gradient_is_finite(speakers):
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(len(speakers), 4, generator=generator), dim=-1).requires_grad_()
    scale, offset = torch.tensor(3.0, requires_grad=True), torch.tensor(-1.0, requires_grad=True)
    expected, expected_count = ge2e_in_a_loop(vectors.detach(), speakers, scale=3.0, offset=-1.0)
    loss, count = ge2e(vectors, speakers, scale=scale, offset=offset)
    assert count == expected_count
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    loss.backward()
    assert all(x.grad.isfinite().all() for x in (vectors, scale, offset))
    if not expected_count:
        assert not vectors.grad.any() and not scale.grad.any()
