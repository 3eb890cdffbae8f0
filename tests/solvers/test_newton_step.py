"""Newton's equations at a point, written out, and what the correctors of centrality ask for and save."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from netinverse.operators.matrix import Matrix
from netinverse.solvers import newton_step as module
from netinverse.solvers.cones import product
from netinverse.solvers.interior_point import InteriorPoint
from netinverse.solvers.newton_step import newton_step
from netinverse.solvers.newton_system import Layer, System
from netinverse.tensors import select
from tests.solvers.test_interior_point import problem_of, solved, zeros

F64 = torch.float64


def system_of(activation: str, constraint: str) -> System:
    """At the start of the first sample."""
    problem = problem_of(activation, constraint)
    start, one = InteriorPoint().init(problem, zeros()), torch.tensor([0])
    return System(Layer.of(problem, start.x).select(one), select(start.inner, one))


@pytest.mark.parametrize("constraint", ["free", "box"])
@pytest.mark.parametrize("activation", ["relu", "softshrink", "tanh"])
def test_a_direction_solves_the_equations(activation: str, constraint: str) -> None:
    """Products change by the target to first order, and no residual is left in x and in y."""
    system = system_of(activation, constraint)
    layer, at = system.layer, system.at
    mu = layer.products(at) / (layer.cones + layer.bend_walls + layer.walls)
    for target in (system.target(None, None), system.target(0.1 * mu, system.direction(system.target(None, None)))):
        d = system.direction(target, start=system.direction(target))
        force, size = -d.dual[1], float(system.residual.abs().max() + layer.matrix.adjoint(d.y).abs().max())
        left = layer.matrix.adjoint(d.y) + layer.pull(force) - d.walls.net() + system.residual
        assert float(left.abs().max()) <= 1e-5 * size
        primal, dual = system.scaling.apply(d.primal, -1.0), system.scaling.apply(d.dual)
        changed = product(system.eigen, (primal[0] + dual[0], primal[1] + dual[1]))
        for found, wanted in zip(changed, target.cones, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9 * float(target.cones[0].abs().max()))
        walls = at.walls.distance * d.walls.force + at.walls.force * d.walls.distance
        torch.testing.assert_close(walls, target.walls, rtol=1e-9, atol=1e-12)
        z = layer.pre_activation(at.x)
        _, slope = layer.bend.base(z)
        moved = slope * (d.x.flatten(1) @ layer.matrix.weight.T) + layer.bend.weight * d.u - d.y
        torch.testing.assert_close(moved, -(layer.gradient(z, at.u) - at.y), rtol=1e-9, atol=1e-9)


def test_only_outliers_are_asked_to_return() -> None:
    mu, spread = torch.ones(1, dtype=F64), module.SPREAD
    products = torch.tensor([-1.0, 0.0, 1 / spread, 1.0, spread, 1.5 * spread, 100 * spread], dtype=F64)
    asked = module._return(products, mu)
    expected = [1 / spread + 1, 1 / spread, 0.0, 0.0, 0.0, -0.5 * spread, -spread]
    torch.testing.assert_close(asked, torch.tensor(expected, dtype=F64))


def test_correctors_save_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    with_them = [solved(problem_of(activation)) for activation in ("relu", "softshrink")]
    monkeypatch.setattr(module, "CORRECTORS", 0)
    without = [solved(problem_of(activation)) for activation in ("relu", "softshrink")]
    assert sum(int(each.steps.sum()) for each in with_them) < sum(int(each.steps.sum()) for each in without)
    for one, other in zip(with_them, without, strict=True):
        torch.testing.assert_close(one.state.objective, other.state.objective, rtol=1e-8, atol=0)


def test_an_unsound_system_leaves_the_point() -> None:
    system = system_of("relu", "free")
    matrix = system.layer.matrix
    layer = replace(system.layer, matrix=Matrix(matrix.weight * torch.nan, matrix.rows, matrix.columns))
    point, sound = newton_step(layer, system.at)
    assert point is system.at
    assert not sound
