"""Alternating directions: the inverse of their metric against a dense one, their answers against the interior-point method's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from netinverse.operators.differences import Gradient
from netinverse.operators.linear import norm_bound
from netinverse.operators.matrix import Matrix
from netinverse.problems import CompositeProblem
from netinverse.solvers.alternating_directions import AlternatingDirections, Metric
from netinverse.solvers.interior_point import InteriorPoint
from netinverse.solvers.iterate import relative_optimality, solve
from netinverse.solvers.status import Status
from tests.solvers.test_interior_point import BATCH, ROWS, SHAPE, problem_of, zeros

F64 = torch.float64


@pytest.mark.parametrize("shape", [(1, 5, 6), (2, 4, 3), (1, 1, 7)])
def test_the_metric_is_inverted(shape: tuple[int, ...]) -> None:
    """d = M^-1 (p + V^T y) by a dense solver, and V d."""
    generator = torch.Generator().manual_seed(1)
    size, rows, steep, shift = torch.Size(shape).numel(), 4, 8.0, 0.01
    v = torch.randn(rows, size, generator=generator, dtype=F64) / 6
    columns = Gradient()(torch.eye(size, dtype=F64).reshape(size, *shape)).reshape(size, -1)
    dense = v.T @ v + (columns @ columns.T + shift * torch.eye(size, dtype=F64)) / steep
    p = torch.randn(2, *shape, generator=generator, dtype=F64)
    y = torch.randn(2, rows, generator=generator, dtype=F64)
    d, along = Metric.of(v, shape, steep, shift).solve(p, y)
    expected = torch.linalg.solve(dense, (p.flatten(1) + y @ v).T).T
    torch.testing.assert_close(d.flatten(1), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(along, expected @ v.T, rtol=1e-10, atol=1e-10)


def rough(problem: CompositeProblem, gap: float, max_steps: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    """Objective and gap where ``gap`` is reached, from the weight that ``Convex`` begins with."""
    solver, penalty = AlternatingDirections.of(problem), problem.terms[1]
    weight = penalty.function.weight * penalty.norm / problem.scale  # type: ignore[attr-defined]
    start = solver.init(problem, zeros(), primal_weight=weight)
    found = solve(solver, problem, start, stop=relative_optimality(gap), max_steps=max_steps)
    assert found.status == (Status.CONVERGED,) * BATCH
    constraint = problem.constraint
    assert constraint is None or (constraint(found.state.x) == 0).all()
    return found.state.objective, found.state.optimality


@pytest.mark.parametrize("constraint", ["free", "box", "nonnegative"])
@pytest.mark.parametrize("activation", ["relu", "softshrink", "tanh"])
def test_the_gap_holds_the_minimum(activation: str, constraint: str) -> None:
    problem = problem_of(activation, constraint)
    solver = InteriorPoint()
    start = solver.init(problem, zeros())
    best = solve(solver, problem, start, stop=relative_optimality(1e-9), max_steps=60).state
    objective, gap = rough(problem, 1e-3)
    assert (objective >= best.objective - best.optimality).all()
    assert (objective - gap <= best.objective).all()


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_single_precision_bears_every_scale(scale: float) -> None:
    """Of W and of x: the metric is in single precision, whose numbers end at 1e38."""
    (value, gap), (other, other_gap) = rough(problem_of("relu"), 1e-2), rough(problem_of("relu", scale=scale), 1e-2)
    assert (value >= other - other_gap).all()
    assert (other >= value - gap).all()


def test_nearly_exact_data_are_no_obstacle() -> None:
    """Weights, and noise, a thousandfold: the penalty is a millionth of the fidelity's curvature, and the gap starts at one."""
    problem = problem_of("relu")
    data_term, penalty = problem.terms
    assert isinstance(data_term.map, Matrix) and isinstance(data_term.offset, torch.Tensor)
    matrix = Matrix(1e3 * data_term.map.weight, (ROWS,), SHAPE)
    function = replace(data_term.function, data=1e3 * data_term.function.data)  # type: ignore[type-var, attr-defined]
    steep = replace(data_term, function=function, map=matrix, norm=norm_bound(matrix, zeros()), offset=1e3 * data_term.offset)
    changed = replace(problem, terms=(steep, penalty))
    solver = InteriorPoint()
    start = solver.init(changed, zeros())
    found = solve(solver, changed, start, stop=relative_optimality(1e-8), max_steps=40)
    assert found.status == (Status.CONVERGED,) * BATCH
