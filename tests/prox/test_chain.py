"""Total variation in one dimension, directly: Clarabel, optimality conditions, the iteration, and awkward signals."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

import netinverse as ni
from netinverse.operators.differences import Gradient
from netinverse.prox import Box, GroupL21, NonNegative
from netinverse.prox.chain import chain_prox
from netinverse.prox.total_variation import dual_prox

F64 = torch.float64
STEPS = torch.tensor([0.0, 1e-3, 0.3, 2.0, 1e3], dtype=F64)


def signals(channels: int, n: int) -> Tensor:
    """One for each of ``STEPS``: noise on a staircase."""
    generator = torch.Generator().manual_seed(n)
    stairs = torch.linspace(0, 3, n, dtype=F64).round()
    return stairs + torch.randn(len(STEPS), channels, n, generator=generator, dtype=F64)


@pytest.mark.parametrize("bounds", [None, (-0.5, 1.2), (0.0, np.inf)])
def test_clarabel_finds_the_same(bounds: tuple[float, float] | None) -> None:
    constraint = None if bounds is None else NonNegative() if np.isinf(bounds[1]) else Box(*bounds)
    z = signals(1, 40)
    found = ni.TotalVariation().prox(z, STEPS, constraint)
    for i, step in enumerate(STEPS.tolist()):
        v = cp.Variable(40)
        limits = [] if bounds is None else [v >= bounds[0]] + ([v <= bounds[1]] if np.isfinite(bounds[1]) else [])
        cost = step * cp.norm1(cp.diff(v)) + 0.5 * cp.sum_squares(v - z[i, 0].numpy())
        cp.Problem(cp.Minimize(cost), limits).solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
        assert np.abs(found.x[i, 0].numpy() - v.value).max() < 2e-5
        value = step * ni.TotalVariation()(found.x[i : i + 1]) + 0.5 * (found.x[i] - z[i]).square().sum()
        assert float(value) <= cost.value + 1e-9


@pytest.mark.parametrize("n", [1, 2, 3, 64, 1000])
def test_the_dual_proves_it(n: int) -> None:
    """x = z - step K^T p with |p| <= 1 and <p, K x> = TV(x): necessary and sufficient, without looking at the gap."""
    z = signals(2, n)
    found = chain_prox(z, STEPS)
    weight = STEPS.reshape(-1, 1, 1)
    torch.testing.assert_close(z - weight * Gradient().adjoint(found.dual), found.x, rtol=0, atol=1e-11)
    assert (found.dual.abs() <= 1).all() and found.x.shape == z.shape
    image = Gradient()(found.x)
    torch.testing.assert_close((image * found.dual).flatten(1).sum(1), ni.TotalVariation()(found.x), rtol=1e-13, atol=1e-13)
    assert (found.gap <= 1e-20).all() and torch.equal(found.x[0], z[0])


def test_bounds_of_all_entries_clip_and_others_do_not() -> None:
    """The clipped minimiser is the minimiser over the same bounds for all; over bounds of each entry it is not."""
    z, tv = signals(2, 50), ni.TotalVariation()
    clipped = chain_prox(z, STEPS, Box(0.2, 1.5))
    assert torch.equal(clipped.x, chain_prox(z, STEPS).x.clamp(0.2, 1.5)) and (clipped.gap <= 1e-20).all()
    slow = dual_prox(GroupL21(axis=1), Gradient(), 2.0, z[:3], STEPS[:3], Box(0.2, 1.5), tolerance=1e-9)
    assert (slow.x - clipped.x[:3]).abs().max() < 1e-3
    lower = torch.linspace(-1, 3, 50, dtype=F64).expand(2, 50)
    found = tv.prox(z, STEPS, Box(lower, torch.inf), tolerance=1e-6)
    assert (found.iterations > 0).any() and (found.x >= lower).all()
    value = STEPS * tv(found.x) + 0.5 * (found.x - z).square().flatten(1).sum(1)
    naive = torch.maximum(chain_prox(z, STEPS).x, lower)
    assert (STEPS * tv(naive) + 0.5 * (naive - z).square().flatten(1).sum(1) > value + 1e-3).any()


def test_awkward_signals() -> None:
    """Constant, steep, tied, huge and tiny ones, with a value that is known or a dual that proves it."""
    n = 200
    ramp = torch.arange(n, dtype=F64)
    rows = torch.stack([torch.ones(n, dtype=F64), 2.0**-ramp, (ramp % 2), 1e12 * torch.sin(ramp), 1e-12 * torch.cos(ramp)])
    step = torch.tensor([5.0, 1e-3, 0.5, 1e10, 1e-13], dtype=F64)
    z = rows[:, None]
    found = chain_prox(z, step)
    assert torch.equal(found.x[0], z[0])
    scale = rows.abs().amax(1)
    assert (found.gap <= 1e-25 * scale.square() * n).all()
    assert chain_prox(z[:0], step[:0]).x.shape == (0, 1, n) and chain_prox(z[:, :, :0], step).x.shape == (5, 1, 0)
    single = chain_prox(rows[:, None].float(), step.float())
    assert single.x.dtype == torch.float32 and ((single.x - found.x).abs().flatten(1).amax(1) <= 1e-4 * scale).all()
    assert torch.isnan(chain_prox(torch.full((1, 1, 4), torch.nan), 1.0).x).all()


def test_a_signal_alone_is_the_signal_in_the_batch() -> None:
    z = signals(1, 300)
    together = chain_prox(z, STEPS)
    for i in range(len(z)):
        alone = chain_prox(z[i : i + 1], STEPS[i : i + 1])
        assert torch.equal(alone.x[0], together.x[i]) and torch.equal(alone.dual[0], together.dual[i])
