"""Corners of activations, and the walls that stand for them."""

from __future__ import annotations

import math

import pytest
import torch

from netinverse.fidelities import BregmanTerm, SquaredTerm
from netinverse.prox import (
    L1,
    Box,
    ELUPotential,
    Huber,
    LeakyReLUPotential,
    LogisticEntropy,
    LogSigmoidPotential,
    NonNegative,
    NonNegativeL1,
    Simplex,
    SoftplusPotential,
    SquaredNorm,
    TanhEntropy,
    Zero,
)
from netinverse.prox.prelu import PReLUPotential
from netinverse.solvers.bends import bend_of
from netinverse.solvers.walls import Walls

F64 = torch.float64
POTENTIALS = [
    Zero(),
    NonNegative(),
    Box(-1.0, 2.0),
    Box(-math.inf, 0.5),
    L1(0.3),
    NonNegativeL1(0.4),
    Huber(0.5, 2.0),
    LeakyReLUPotential(0.1),
    PReLUPotential(torch.tensor([0.25])),
    SquaredNorm(2.0),
    TanhEntropy(),
    LogisticEntropy(),
    SoftplusPotential(),
    LogSigmoidPotential(),
    ELUPotential(),
]


@pytest.mark.parametrize("potential", POTENTIALS, ids=repr)
def test_base_and_clip_make_the_activation(potential: NonNegative) -> None:
    z = torch.linspace(-4, 4, 161, dtype=F64).reshape(1, -1)
    term = BregmanTerm(potential, potential.prox(torch.zeros_like(z)))
    bend = bend_of(term)
    assert bend is not None
    base, slope = bend.base(z)
    sigma = base + bend.weight * z.clamp(bend.lower, bend.upper)
    torch.testing.assert_close(sigma, potential.prox(z), rtol=1e-12, atol=1e-12)
    h = 1e-6
    numeric = (bend.base(z + h)[0] - bend.base(z - h)[0]) / (2 * h)
    torch.testing.assert_close(slope, numeric, rtol=1e-5, atol=1e-6)
    assert (slope + bend.weight >= -1e-12).all()


def test_coupled_entries_have_no_bend_and_squares_are_straight() -> None:
    y = torch.full((1, 4), 0.25, dtype=F64)
    assert bend_of(BregmanTerm(Simplex(), y)) is None
    assert bend_of(BregmanTerm(PReLUPotential(torch.tensor([0.25, 0.5, 1.0, 0.1])), y)) is None
    bend = bend_of(SquaredTerm(y))
    assert bend is not None
    assert torch.equal(bend.base(y)[0], y)


@pytest.mark.parametrize(("lower", "upper"), [(0.0, math.inf), (-math.inf, 0.5), (-1.0, 1.0), (-math.inf, math.inf)])
def test_a_wall_moves_the_point_inside_and_pushes_back(lower: float, upper: float) -> None:
    """With spread sqrt(mu), u - net force is the point; the net force of a wall is what is beyond it."""
    point = torch.linspace(-30, 30, 121, dtype=F64).reshape(1, -1)
    mu = torch.tensor([1e-8], dtype=F64)
    ends = [torch.tensor(end, dtype=F64).expand(121) for end in (lower, upper)]
    inside, walls = Walls.around(point, *ends, mu.sqrt(), mu)
    assert (inside >= lower).all() and (inside <= upper).all()
    torch.testing.assert_close(inside - walls.net(), point, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(walls.products(), mu * walls.there, rtol=1e-12, atol=0.0)
    assert walls.there[0].sum() == 121 * sum(math.isfinite(end) for end in (lower, upper))


def test_the_changes_of_walls_are_the_derivative() -> None:
    point = torch.tensor([[0.2, 0.7]], dtype=F64)
    mu = torch.tensor([1e-2], dtype=F64)
    ends = [torch.zeros(2, dtype=F64), torch.ones(2, dtype=F64)]
    inside, walls = Walls.around(point, *ends, mu, mu)
    du = torch.tensor([[1e-3, -2e-3]], dtype=F64)
    change = 1e-5 * torch.ones(1, 2, 2, dtype=F64)
    moved = walls.plus(torch.ones(1, dtype=F64), walls.moved(du, change))
    torch.testing.assert_close(moved.distance[:, 0], inside + du)
    torch.testing.assert_close(moved.products(), walls.products() + change, rtol=0, atol=1e-4)
    step = torch.tensor([walls.longest_step(walls.moved(du, change)).item()], dtype=F64)
    edge = walls.plus(step, walls.moved(du, change))
    assert min(edge.distance.min().abs(), edge.force.min().abs()) < 1e-12
    expected = walls.net() + walls.push(change) - walls.stiffness() * du
    torch.testing.assert_close(moved.net(), expected, rtol=1e-12, atol=1e-12)
