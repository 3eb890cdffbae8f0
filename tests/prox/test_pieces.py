"""The proximal map in strips: as good whatever their height, and in three dimensions what Clarabel and scikit-image find."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

import netinverse as ni
from netinverse.operators.differences import Gradient
from netinverse.prox import L1, Box, GroupL21, NonNegative, Simplex, pieces
from netinverse.prox.pieces import Rows, Whole, pieces_of

F64 = torch.float64
SHAPES = [(2, 9, 7), (1, 5, 4, 6), (1, 1, 8), (3, 6, 1)]


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=F64)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_strips_make_the_whole(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row of x and of K x is visited once, and by the time K x is asked for, its rows of x are there.

    As many rows at once as the bytes allow, which are two in double precision and four in single.
    """
    monkeypatch.setattr(pieces, "AT_ONCE", 8 * 2 * torch.Size(shape[2:]).numel() * shape[0])
    z = drawn(2, *shape)
    rows, y = Rows(Gradient()), Gradient()(z)
    q = drawn(*y.shape)
    x, image = torch.full_like(z, torch.nan), torch.full_like(y, torch.nan)
    assert len(rows.samples(z)) == 2 or shape[1] <= 2
    for some in rows.samples(z):
        for at_once, part in ((2, z[some]), (4, z[some].float())):
            heights = [strip.last - strip.first for strip in rows.strips(part)]
            assert max(heights) == min(at_once, shape[1]) and len(heights) == -(-shape[1] // at_once)
        for strip in rows.strips(z[some]):
            rows.input(x[some], strip).copy_(rows.input(z[some], strip))
            rows.image(image[some], strip).copy_(rows.forward(x[some], strip))
            back = rows.back(q[some], strip)
            torch.testing.assert_close(back, rows.input(Gradient().adjoint(q[some]), strip))
    assert torch.equal(x, z) and torch.equal(image, y) and torch.equal(rows.zeros(z), 0 * y)


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("constraint", [None, Box(0.2, 0.7)], ids=str)
@pytest.mark.parametrize("at_once", [100, 2 * 2 * 24 * 16], ids=["strips", "two samples and one"])
def test_the_size_of_the_pieces_does_not_matter(
    isotropic: bool, constraint: Box | None, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    z, step = drawn(3, 2, 24, 16), torch.tensor([0.05, 0.4, 0.0], dtype=F64)
    tv = ni.TotalVariation(isotropic)
    whole = tv.prox(z, step, constraint, tolerance=1e-4)
    monkeypatch.setattr(pieces, "AT_ONCE", 8 * at_once)
    strips = tv.prox(z, step, constraint, tolerance=1e-4)
    apart = (strips.x - whole.x).flatten(1).norm(dim=1)
    assert (apart <= (2 * strips.gap).sqrt() + (2 * whole.gap).sqrt() + 1e-12).all()
    value = step * tv(strips.x) + 0.5 * (strips.x - z).square().flatten(1).sum(1)
    assert (strips.gap <= 1e-4 * value + 1e-13).all()


def test_what_is_not_the_same_at_all_pixels_is_taken_whole() -> None:
    norm = GroupL21(axis=1)
    for constraint in (None, Box(), NonNegative()):
        assert isinstance(pieces_of(Gradient(), norm, constraint), Rows)
    for function, constraint in ((norm, Box(torch.zeros(1, 4, 4), 1.0)), (L1(), Simplex()), (GroupL21(axis=2), None)):
        assert isinstance(pieces_of(Gradient(), function, constraint), Whole)


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("bounded", [False, True])
def test_volumes_against_clarabel(isotropic: bool, bounded: bool) -> None:
    z, step = drawn(1, 1, 4, 5, 3), 0.15
    found = ni.TotalVariation(isotropic).prox(z, step, Box(0.3, 0.6) if bounded else None, tolerance=1e-10)
    columns = Gradient()(torch.eye(60, dtype=F64).reshape(60, 1, 4, 5, 3)).reshape(60, 3, 60).permute(1, 2, 0).numpy()
    v = cp.Variable(60)
    size = cp.norm(cp.vstack([k @ v for k in columns]), 2 if isotropic else 1, axis=0)
    cost = step * cp.sum(size) + 0.5 * cp.sum_squares(v - z.flatten().numpy())
    limits = [v >= 0.3, v <= 0.6] if bounded else []
    cp.Problem(cp.Minimize(cost), limits).solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    assert np.abs(found.x.flatten().numpy() - v.value).max() < 1e-4


@pytest.mark.parametrize("shape", [(24, 20), (8, 10, 6)])
def test_scikit_image_is_of_the_same_opinion(shape: tuple[int, ...]) -> None:
    z = drawn(1, 1, *shape)
    found = ni.TotalVariation().prox(z, 0.1, tolerance=1e-8).x[0, 0].numpy()
    other = denoise_tv_chambolle(z[0, 0].numpy(), weight=0.1, eps=1e-12, max_num_iter=5000)
    assert np.abs(found - other).max() < 2e-3 and np.abs(found - z[0, 0].numpy()).max() > 0.05


def test_values_beyond_single_precision_are_no_obstacle() -> None:
    for size in (1e25, 1e-30, 1e3):
        z = size * drawn(1, 1, 8, 8)
        found = ni.TotalVariation().prox(z, 0.1 * size, tolerance=1e-6)
        reference = ni.TotalVariation().prox(z / size, 0.1, tolerance=1e-9)
        assert (found.x / size - reference.x).abs().max() < 1e-2
        assert found.gap.item() <= 1e-6 * (0.1 * size * ni.TotalVariation()(found.x) + 0.5 * (found.x - z).square().sum()).item()
