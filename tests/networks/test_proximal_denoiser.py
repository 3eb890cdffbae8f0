"""Unrolled dual forward-backward denoisers: their limit, their scale, and what they are lifted to."""

from __future__ import annotations

import cvxpy as cp
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

import netinverse as ni
from netinverse.networks.proximal_denoiser import ProximalDenoiser
from netinverse.operators.filters import squared_norm_bound
from netinverse.prox.total_variation import dual_prox

F64 = torch.float64
each_kind = pytest.mark.parametrize("tied", [True, False], ids=["tied", "decoupled"])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


class Filters:
    """L and its adjoint, for the iteration of the library."""

    def __init__(self, filters: Tensor) -> None:
        self.filters = filters

    def __call__(self, x: Tensor) -> Tensor:
        return conv2d(x, self.filters)

    def adjoint(self, u: Tensor) -> Tensor:
        return conv_transpose2d(u, self.filters)


@pytest.mark.parametrize("channels", [1, 2])
def test_with_depth_it_becomes_the_proximal_map_of_its_l1_norm(channels: int) -> None:
    """argmin_x ||L x||_1 + 1/2||x - z||^2, L with filters of different lengths; the distance falls with the depth."""
    lengths = torch.tensor([0.6, 0.8, 1.0, 1.2], dtype=F64).reshape(4, 1, 1, 1)
    filters = lengths * ni.proximal_denoiser(channels, 4, 1, threshold=0.6, dtype=F64).filters.detach()
    z = drawn(2, channels, 7, 6, seed=2)
    units = torch.eye(channels * 42, dtype=F64).reshape(-1, channels, 7, 6)
    matrix = conv2d(units, filters).flatten(1).T.numpy()
    exact = []
    for sample in z:
        x = cp.Variable(channels * 42)
        cp.Problem(cp.Minimize(cp.norm1(matrix @ x) + 0.5 * cp.sum_squares(x - sample.flatten().numpy()))).solve(cp.CLARABEL)
        exact.append(torch.as_tensor(x.value).reshape(channels, 7, 6))
    found = {depth: ProximalDenoiser(filters, depth)(z).detach() for depth in (3, 30, 2000)}
    away = {depth: float((x - torch.stack(exact)).norm()) for depth, x in found.items()}
    assert away[2000] < 1e-4 < away[30] < away[3], away
    own = dual_prox(ni.L1(), Filters(filters), 6.0, z, tolerance=1e-12)
    torch.testing.assert_close(found[2000], own.x, rtol=0, atol=1e-4)


def test_a_threshold_is_the_length_of_a_filter() -> None:
    """u <- clip(u - tau L(L^* u - z), -nu, nu) with one nu for all is the network with the filters nu L."""
    filters, z, nu = 0.3 * drawn(3, 1, 3, 3), drawn(2, 1, 8, 8, seed=1), 0.2
    ours = ProximalDenoiser(nu * filters, 6)(z)
    tau, u = 1 / squared_norm_bound(filters), torch.zeros(2, 3, 6, 6, dtype=F64)
    for _ in range(6):
        u = (u - tau * conv2d(conv_transpose2d(u, filters) - z, filters)).clamp(-nu, nu)
    torch.testing.assert_close(ours, z - conv_transpose2d(u, filters))


@each_kind
def test_it_is_lifted_exactly_with_its_own_parameters_and_takes_any_size(tied: bool) -> None:
    denoiser = ni.proximal_denoiser(2, 5, 4, kernel_size=2, tied=tied, dtype=F64)
    for shape in ((2, 6, 9), (2, 2, 2)):
        lifted, z = ni.lift(denoiser, torch.zeros(1, *shape, dtype=F64)), drawn(3, *shape)
        assert lifted.is_exactly_lifted and [repr(node.potential) for node in lifted.hidden] == 4 * [repr(ni.Box(-1.0, 1.0))]
        torch.testing.assert_close(lifted(z), denoiser(z))
        with torch.no_grad():
            for p in denoiser.parameters():
                p.mul_(1.3)
        torch.testing.assert_close(lifted(z), denoiser(z))
        assert {id(p) for p in lifted.parameters()} == {id(p) for p in denoiser.parameters()}


def test_the_decoupled_denoiser_begins_as_the_tied_one() -> None:
    z = 0.2 * drawn(2, 1, 9, 9)
    tied, decoupled = (ni.proximal_denoiser(1, 12, 5, tied=kind, seed=3, dtype=F64) for kind in (True, False))
    torch.testing.assert_close(tied(z), decoupled(z), rtol=1e-12, atol=1e-14)
    assert len(list(tied.parameters())) == 1 and len(list(decoupled.parameters())) == 10
    assert (tied(z) - z).abs().max() > 0.01  # and it is not the identity


def test_the_first_filters_are_orthonormal_in_groups_and_see_no_constants() -> None:
    rows = ni.proximal_denoiser(1, 12, 2, dtype=F64).filters.detach().flatten(1)
    gram = rows[:8] @ rows[:8].T / rows[0].square().sum()
    torch.testing.assert_close(gram, torch.eye(8, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(rows.sum(1), torch.zeros(12, dtype=F64), rtol=0, atol=1e-12)
    assert torch.equal(rows, ni.proximal_denoiser(1, 12, 2, dtype=F64).filters.detach().flatten(1))


def test_the_tied_denoiser_is_a_prior_and_the_decoupled_one_may_be_none() -> None:
    """Deep, it is firmly nonexpansive: 1/2-averaged as measured, and between pairs of points; an untied map need not be."""
    z = 0.2 * drawn(3, 1, 5, 5)
    deep, shallow = (ni.proximal_denoiser(1, 3, depth, 2, dtype=F64) for depth in (300, 8))
    measured = ni.DenoiserPrior(deep).averagedness(z)
    assert measured.holds.all() and (measured.theta - 0.5).abs().max() < 1e-3
    assert ni.DenoiserPrior(shallow).averagedness(z).norm.max() < 1.01
    with torch.no_grad():
        v, w = 0.3 * drawn(100, 1, 5, 5, seed=1), 0.3 * drawn(100, 1, 5, 5, seed=2)
        moved = (deep(v) - deep(w)).flatten(1)
        assert (moved.square().sum(1) <= (moved * (v - w).flatten(1)).sum(1) + 1e-3).all()
        decoupled = ni.proximal_denoiser(1, 3, 4, 2, tied=False, dtype=F64)
        decoupled.adjoint_filters[-1].mul_(-4)
    assert not ni.DenoiserPrior(decoupled).averagedness(0.01 * z).holds.any()


def test_refusals() -> None:
    for name, value in (("channels", 0), ("features", 2.5), ("depth", -1), ("kernel_size", 1)):
        with pytest.raises((ValueError, TypeError), match=f"proximal_denoiser: {name} is {value}"):
            ni.proximal_denoiser(**{"channels": 1, "features": 4, "depth": 2, name: value})  # type: ignore[arg-type]
    for threshold in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"proximal_denoiser: threshold is {threshold}"):
            ni.proximal_denoiser(1, 4, 2, threshold=threshold)
    denoiser = ni.proximal_denoiser(3, 4, 2)
    for shape in ((1, 1, 8, 8), (3, 8, 8), (1, 3, 8, 2)):
        with pytest.raises(ValueError, match=r"the picture has shape .* but the filters take \(batch, 3, height, width\)"):
            denoiser(torch.zeros(shape))
    with pytest.raises(ValueError, match="the picture has shape"):
        ni.lift(denoiser, torch.zeros(1, 1, 8, 8))
