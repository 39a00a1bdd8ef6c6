from __future__ import annotations

import math

import pytest
import torch

from sonolex.objectives import vicreg

FIRST = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
SECOND = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])


def test_the_three_terms_of_two_clips_by_hand():
    # First view: deviations √(2 + ε) and √ε, covariance diagonal. Second: both √(2 + ε), off-diagonal 2 twice.
    terms = vicreg.terms(FIRST, SECOND, reduction="code")
    assert terms["invariance"].item() == pytest.approx(0.5)  # distances 1 and 1 over two rows and two dimensions
    assert terms["variance"].item() == pytest.approx(0.5 * (1 - 0.01) / 2, rel=1e-4)
    assert terms["covariance"].item() == pytest.approx(0 + (4 + 4) / 2)


def test_the_papers_form_differs_by_two_and_by_the_width():
    torch.manual_seed(0)
    first, second = torch.randn(7, 5) * 0.3, torch.randn(7, 5) * 0.3
    code, paper = (vicreg.terms(first, second, reduction=r) for r in ("code", "paper"))
    assert paper["invariance"].item() == pytest.approx(5 * code["invariance"].item())
    assert paper["variance"].item() == pytest.approx(2 * code["variance"].item())
    assert paper["covariance"].item() == pytest.approx(code["covariance"].item())


@pytest.mark.parametrize("shape", [(6, 40), (40, 6)])
def test_covariance_is_that_of_the_matrix_whichever_gram_is_smaller(shape):
    torch.manual_seed(0)
    x = torch.randn(*shape, dtype=torch.float64)
    matrix = torch.cov(x.T)
    off_diagonal = matrix - torch.diag(matrix.diag())
    assert vicreg.covariance(x).item() == pytest.approx(off_diagonal.square().sum().item() / shape[1])


def test_order_of_clips_changes_nothing():
    torch.manual_seed(0)
    first, second, order = torch.randn(9, 4), torch.randn(9, 4), torch.randperm(9)
    a, b = vicreg.terms(first, second, reduction="code"), vicreg.terms(first[order], second[order], reduction="code")
    assert all(a[n].item() == pytest.approx(b[n].item(), rel=1e-5) for n in a)


@pytest.mark.parametrize(
    ("num_rows", "width", "floor"),
    [(12, 4096, 21.19), (8, 4096, 21.72), (6, 4096, 22.07), (12, 1024, 18.93), (12, 256, 15.25), (2048, 8192, 6.0)],
)
def test_the_floor_is_that_of_the_reference(num_rows, width, floor):
    assert vicreg.loss_floor(num_rows, width) == pytest.approx(floor, abs=0.02)


def test_no_vectors_lie_below_the_floor_and_optimised_ones_reach_it():
    torch.manual_seed(0)
    x = torch.randn(12, 64, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=0.02)
    for _ in range(600):
        terms = vicreg.terms(x, x, reduction="code")
        loss = 25 * terms["variance"] + terms["covariance"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    floor = vicreg.loss_floor(12, 64)
    assert floor - 0.05 <= loss.item() <= floor * 1.02


def test_spread_tells_collapsed_vectors_from_full_ones():
    torch.manual_seed(0)
    full = vicreg.spread(torch.randn(500, 16))
    line = vicreg.spread(torch.randn(500, 1) @ torch.randn(1, 16))
    point = vicreg.spread(torch.ones(500, 16))
    assert full["rank"] == 16 and 15 < full["effective_dim"] <= 16 and full["std"] == pytest.approx(1, abs=0.05)
    assert line["rank"] == 1 and line["effective_dim"] == pytest.approx(1, abs=1e-6)
    assert point == {"std": 0.0, "rank": 0.0, "effective_dim": 0.0, "participation": 0.0}
    wide = vicreg.spread(torch.randn(12, 400))
    assert wide["rank"] == 11  # n − 1, however wide


def test_spread_of_two_equal_directions_by_hand():
    x = math.sqrt(2) * torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert vicreg.spread(x) == pytest.approx(
        {"std": math.sqrt(4 / 3), "rank": 2, "effective_dim": 2, "participation": 2}
    )


def test_one_clip_or_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="at least 2 clips"):
        vicreg.terms(FIRST[:1], SECOND[:1], reduction="code")
    with pytest.raises(ValueError, match="reduction"):
        vicreg.terms(FIRST, SECOND, reduction="mean")


def test_autocast_does_not_take_covariances_in_half_precision():
    torch.manual_seed(0)
    first, second = torch.randn(64, 32) + 20, torch.randn(64, 32) + 20
    plain = vicreg.terms(first, second, reduction="code")
    with torch.autocast("cpu", torch.bfloat16):
        cast = vicreg.terms(first, second, reduction="code")
    assert all(cast[n].item() == plain[n].item() and cast[n].dtype == torch.float32 for n in plain)
