"""Regularisers and their proximal maps against Clarabel, closed forms and the laws."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from netinverse.protocols import ProximalFunction
from netinverse.prox import Box, NonNegative
from netinverse.regularisers import Sparsity, Tikhonov, TotalVariation

ALL = [TotalVariation(), TotalVariation(isotropic=False), Tikhonov(), Sparsity()]


def images(batch: int = 4, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 1.5 * torch.rand((batch, 1, *shape), generator=generator, dtype=torch.float64) - 0.25


def oracle(z: Tensor, step: float, isotropic: bool, bounds: tuple[float, float] | None) -> np.ndarray:
    array = z.numpy().reshape(z.shape[-2] if z.ndim > 2 else 1, z.shape[-1])
    v = cp.Variable(array.shape)
    fields = [cp.vec(cp.hstack([v[:, 1:] - v[:, :-1], np.zeros((len(array), 1))]), order="C")]
    if len(array) > 1:
        fields.append(cp.vec(cp.vstack([v[1:] - v[:-1], np.zeros((1, array.shape[1]))]), order="C"))
    tv = cp.sum(cp.norm(cp.vstack(fields), 2 if isotropic else 1, axis=0))
    limits = [] if bounds is None else [v >= bounds[0]] + ([v <= bounds[1]] if np.isfinite(bounds[1]) else [])
    problem = cp.Problem(cp.Minimize(step * tv + 0.5 * cp.sum_squares(v - array)), limits)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    return v.value.reshape(z.shape)


@pytest.mark.parametrize("shape", [(9, 11), (16,)])
@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize(
    "constraint, bounds", [(None, None), (Box(0.0, 1.0), (0.0, 1.0)), (NonNegative(), (0.0, float("inf")))], ids=str
)
def test_total_variation_against_clarabel(
    shape: tuple[int, ...], isotropic: bool, constraint: ProximalFunction | None, bounds: tuple[float, float] | None
) -> None:
    z, step = images(1, *shape), 0.3
    found = TotalVariation(isotropic).prox(z, step, constraint, tolerance=1e-12)
    assert np.abs(found.x[0].numpy() - oracle(z[0], step, isotropic, bounds)).max() < 2e-6
    assert found.gap.item() <= 1e-11


def test_two_pixels_approach_each_other_by_twice_the_step() -> None:
    z = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]], dtype=torch.float64)
    found = TotalVariation().prox(z, torch.tensor([0.2, 0.9], dtype=torch.float64), tolerance=1e-13).x
    torch.testing.assert_close(found, torch.tensor([[[0.2, 0.8]], [[0.5, 0.5]]], dtype=torch.float64), rtol=0, atol=1e-6)


def test_gap_bounds_the_true_excess_and_samples_are_independent() -> None:
    z, step = images(4, 10, 10), torch.tensor([0.01, 0.1, 0.0, 1.0], dtype=torch.float64)
    before, tv = z.clone(), TotalVariation()
    rough, fine = tv.prox(z, step, Box(), 1e-3), tv.prox(z, step, Box(), 1e-12)

    def value(x: Tensor) -> Tensor:
        return step * tv(x) + 0.5 * (x - z).square().flatten(1).sum(1)

    excess = value(rough.x) - value(fine.x)
    assert (excess <= rough.gap + 1e-12).all() and (rough.gap <= 1e-3 * value(rough.x) + 1e-13).all()
    assert torch.equal(fine.x[2], z[2].clamp(0, 1)) and torch.equal(z, before)
    for i in range(4):
        assert (tv.prox(z[i : i + 1], step[i : i + 1], Box(), 1e-3).x[0] - rough.x[i]).abs().max() < 1e-14
    assert (tv.prox(z, step, Box(), 1e-3, warm=fine.dual).iterations == 0).all()
    assert tv.prox(z[:0], 1.0).x.shape == z[:0].shape


@pytest.mark.parametrize("regulariser", [Tikhonov(), Sparsity()], ids=lambda r: r.name)
@pytest.mark.parametrize("constraint", [None, Box(-0.1, 0.4), NonNegative()], ids=str)
def test_closed_forms_on_a_lattice(regulariser: Tikhonov | Sparsity, constraint: ProximalFunction | None) -> None:
    lattice = torch.arange(-10_000, 10_001, dtype=torch.float64)[:, None] / 10_000
    penalty = 0.0 if constraint is None else constraint(lattice)
    for z in (-0.7, -0.2, 0.05, 0.3, 0.9):
        values = 0.25 * regulariser(lattice) + 0.5 * (lattice[:, 0] - z).square() + penalty
        found = regulariser.prox(torch.tensor([[z]], dtype=torch.float64), 0.25, constraint).x.item()
        assert found == pytest.approx(lattice[values.argmin()].item(), abs=6e-5)


@pytest.mark.parametrize("regulariser", ALL, ids=lambda r: r.name)
def test_r_is_g_after_k(regulariser: TotalVariation | Tikhonov | Sparsity) -> None:
    x = images(3, 6, 5)
    expected = regulariser.function(regulariser.transform((1, 6, 5))(x))
    torch.testing.assert_close(regulariser(x), expected)
    assert regulariser(x).shape == (3,) and regulariser.transform_norm((1, 6, 5)) > 0


def test_total_variation_refuses_vectors() -> None:
    with pytest.raises(ValueError, match=r"TotalVariation: one input has shape \(300,\).*Tikhonov"):
        TotalVariation()(torch.zeros(2, 300))
