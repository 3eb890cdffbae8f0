"""The interior-point method against Clarabel and against the primal-dual method: optimum, gap, scale, batch, bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from netinverse.fidelities import BregmanTerm, DataTerm, SquaredTerm
from netinverse.operators.differences import Gradient
from netinverse.operators.linear import norm_bound
from netinverse.operators.matrix import Matrix
from netinverse.problems import CompositeProblem, Term
from netinverse.protocols import Potential, ProximalFunction
from netinverse.prox import L1, Box, GroupL21, LeakyReLUPotential, LogisticEntropy, NonNegative, Scaled, TanhEntropy
from netinverse.solvers.interior_point import InteriorPoint, InteriorPointState
from netinverse.solvers.iterate import Solution, relative_optimality, solve
from netinverse.solvers.newton_step import Layer
from netinverse.solvers.primal_dual import PrimalDual
from netinverse.solvers.status import Status

F64 = torch.float64
HEIGHT, WIDTH, ROWS, BATCH = 7, 6, 20, 2
SHAPE = (1, HEIGHT, WIDTH)
ALPHA = torch.tensor([0.02, 0.3], dtype=F64)
CONSTRAINTS: dict[str, ProximalFunction | None] = {"free": None, "box": Box(0.0, 1.0), "nonnegative": NonNegative()}


@dataclass(frozen=True)
class Activation:
    """What it is, and its antiderivative as cvxpy writes it (None: no oracle but the other solver)."""

    potential: Potential | None
    antiderivative: Callable[[cp.Expression], cp.Expression] | None


ACTIVATIONS = {
    "identity": Activation(None, lambda z: 0.5 * cp.sum_squares(z)),
    "relu": Activation(NonNegative(), lambda z: 0.5 * cp.sum_squares(cp.pos(z))),
    "hardtanh": Activation(Box(-1.0, 1.0), lambda z: 0.5 * cp.sum(cp.huber(z, 1))),
    "softshrink": Activation(L1(0.2), lambda z: 0.5 * cp.sum_squares(cp.pos(cp.abs(z) - 0.2))),
    "leaky": Activation(LeakyReLUPotential(0.1), lambda z: 0.45 * cp.sum_squares(cp.pos(z)) + 0.05 * cp.sum_squares(z)),
    "tanh": Activation(TanhEntropy(), None),
    "logistic": Activation(LogisticEntropy(), None),
}


@cache
def layer() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(ROWS, HEIGHT * WIDTH, generator=generator, dtype=F64) * 0.4
    bias = 0.1 * torch.randn(ROWS, generator=generator, dtype=F64)
    truth = torch.zeros(BATCH, *SHAPE, dtype=F64)
    truth[0, 0, 1:4, 2:5], truth[1, 0, 3:, :3] = 1.0, 0.8
    return weight, bias, truth


def data(activation: str) -> Tensor:
    weight, bias, truth = layer()
    potential = ACTIVATIONS[activation].potential
    z = truth.flatten(1) @ weight.T + bias
    y = z if potential is None else potential.prox(z)
    y = y + 0.03 * torch.randn(y.shape, generator=torch.Generator().manual_seed(6), dtype=F64)
    return (
        y if potential is None else potential.project(y).clamp(-0.99, 0.99 if activation in ("tanh", "logistic") else torch.inf)
    )


def problem_of(activation: str, constraint: str = "free", isotropic: bool = True, scale: float = 1.0) -> CompositeProblem:
    """``scale`` multiplies W and divides x."""
    weight, bias, _ = layer()
    y, potential = data(activation), ACTIVATIONS[activation].potential
    term: DataTerm = SquaredTerm(y) if potential is None else BregmanTerm(potential, y)
    matrix = Matrix(scale * weight, (ROWS,), SHAPE)
    penalty = Scaled(GroupL21(axis=1) if isotropic else L1(), scale * ALPHA)
    bound = torch.full_like(ALPHA, Gradient.norm_bound(SHAPE))
    terms = (Term(term, matrix, norm_bound(matrix, zeros()), bias.expand_as(y)), Term(penalty, Gradient(), bound))
    return CompositeProblem(terms, CONSTRAINTS[constraint], 1 / scale)


def zeros() -> Tensor:
    return torch.zeros(BATCH, *SHAPE, dtype=F64)


def solved(problem: CompositeProblem, tolerance: float = 1e-10) -> Solution[InteriorPointState]:
    solver = InteriorPoint()
    return solve(solver, problem, solver.init(problem, zeros()), stop=relative_optimality(tolerance), max_steps=60)


def oracle(activation: str, constraint: str, isotropic: bool) -> np.ndarray:
    """The minimum of each sample, up to the constant of the data."""
    weight, bias, _ = layer()
    values = []
    for y, alpha in zip(data(activation).numpy(), ALPHA.tolist(), strict=True):
        v = cp.Variable((HEIGHT, WIDTH))
        z = weight.numpy() @ cp.vec(v, order="C") + bias.numpy()
        right = cp.hstack([v[:, 1:] - v[:, :-1], np.zeros((HEIGHT, 1))])
        down = cp.vstack([v[1:] - v[:-1], np.zeros((1, WIDTH))])
        both = cp.vstack([cp.vec(down, order="C"), cp.vec(right, order="C")])
        limits = {"free": [], "box": [v >= 0, v <= 1], "nonnegative": [v >= 0]}[constraint]
        antiderivative = ACTIVATIONS[activation].antiderivative
        assert antiderivative is not None
        objective = antiderivative(z) - y @ z + alpha * cp.sum(cp.norm(both, 2 if isotropic else 1, axis=0))
        program = cp.Problem(cp.Minimize(objective), limits)
        program.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        values.append(program.value)
    return np.array(values)


def constant(activation: str) -> np.ndarray:
    """1/2||y||^2 + Psi(y), which the fidelity adds to Phi(z) - <y, z>."""
    y, potential = data(activation), ACTIVATIONS[activation].potential
    psi = torch.zeros(BATCH, dtype=F64) if potential is None else potential(y)
    return (0.5 * y.square().sum(1) + psi).numpy()


CASES = [
    ("identity", "free", True),
    ("relu", "free", True),
    ("relu", "box", True),
    ("relu", "nonnegative", False),
    ("hardtanh", "free", True),
    ("hardtanh", "box", False),
    ("softshrink", "free", True),
    ("leaky", "nonnegative", True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_optimum_of_clarabel_is_reached(case: tuple[str, str, bool]) -> None:
    activation, constraint, isotropic = case
    found = solved(problem_of(activation, constraint, isotropic))
    assert found.status == (Status.CONVERGED,) * BATCH
    minimum = oracle(*case) + constant(activation)
    difference = found.state.objective.numpy() - minimum
    assert np.abs(difference).max() <= 1e-7 * np.abs(minimum).max() + 1e-8
    chosen = CONSTRAINTS[constraint]
    assert chosen is None or (chosen(found.state.x) == 0).all()
    assert (found.steps <= 30).all()


@pytest.mark.parametrize("activation", ["tanh", "logistic", "relu"])
def test_the_primal_dual_method_finds_no_less(activation: str) -> None:
    problem = problem_of(activation)
    found = solved(problem)
    assert found.status == (Status.CONVERGED,) * BATCH
    other = PrimalDual()
    reference = solve(other, problem, other.init(problem, zeros()), stop=relative_optimality(1e-4), max_steps=400).state
    # Both gaps are honest: the intervals [objective - gap, objective] overlap.
    assert (found.state.objective >= reference.objective - reference.optimality - 1e-12).all()
    assert (reference.objective >= found.state.objective - found.state.optimality - 1e-12).all()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_weights_changes_the_solution_in_proportion(scale: float) -> None:
    one, other = solved(problem_of("relu")).state, solved(problem_of("relu", scale=scale)).state
    torch.testing.assert_close(other.objective, one.objective, rtol=1e-8, atol=0)
    torch.testing.assert_close(other.x * scale, one.x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 1.0, 100.0])
def test_every_weight_is_solved(alpha: float) -> None:
    problem = problem_of("relu", "box")
    data_term, penalty = problem.terms
    weights = torch.full_like(ALPHA, alpha)
    found = solved(replace(problem, terms=(data_term, replace(penalty, function=Scaled(GroupL21(axis=1), weights)))))
    assert found.status == (Status.CONVERGED,) * BATCH


def test_a_sample_alone_is_the_sample_in_the_batch_and_the_bits_repeat() -> None:
    problem = problem_of("relu", "box")
    together, again = solved(problem), solved(problem)
    assert torch.equal(together.state.x, again.state.x)
    data_term, penalty = problem.terms
    assert isinstance(data_term.function, BregmanTerm) and isinstance(data_term.offset, Tensor)
    for i in range(BATCH):
        one = slice(i, i + 1)
        terms = (
            replace(
                data_term,
                function=data_term.function.select(torch.tensor([i])),
                norm=data_term.norm[one],
                offset=data_term.offset[one],
            ),
            replace(penalty, function=Scaled(GroupL21(axis=1), ALPHA[one]), norm=penalty.norm[one]),
        )
        solver = InteriorPoint()
        alone_problem = CompositeProblem(terms, problem.constraint)
        start = solver.init(alone_problem, zeros()[one])
        alone = solve(solver, alone_problem, start, stop=relative_optimality(1e-10), max_steps=60)
        assert alone.steps[0] == together.steps[i]
        torch.testing.assert_close(alone.state.x[0], together.state.x[i], rtol=0, atol=1e-9)


def test_rank_deficient_and_zero_layers_are_solved() -> None:
    for weight in (torch.ones(ROWS, HEIGHT * WIDTH, dtype=F64), torch.zeros(ROWS, HEIGHT * WIDTH, dtype=F64)):
        problem = problem_of("relu")
        matrix = Matrix(weight, (ROWS,), SHAPE)
        data_term = replace(problem.terms[0], map=matrix, norm=norm_bound(matrix, zeros()).clamp(min=1e-3))
        found = solved(replace(problem, terms=(data_term, problem.terms[1])), 1e-8)
        assert torch.isfinite(found.state.x).all()
        assert (found.state.optimality <= 1e-8 * found.state.objective.abs()).all()


def test_other_problems_are_refused_with_a_remedy() -> None:
    problem = problem_of("relu")
    data_term, penalty = problem.terms
    for changed in (
        replace(problem, terms=(data_term, replace(penalty, function=Scaled(GroupL21(axis=1), 0.0)))),
        replace(problem, terms=(replace(data_term, map=Gradient()), penalty)),
        replace(problem, constraint=L1()),
        replace(problem, terms=(data_term,)),
        replace(problem, terms=(data_term, replace(penalty, function=GroupL21(axis=1)))),
    ):
        assert not InteriorPoint.suits(changed)
        with pytest.raises(ValueError, match=r"InteriorPoint: .*no known factorisation\. Use PrimalDual\(\)"):
            InteriorPoint().init(changed, zeros())


def test_bounds_and_cones_are_counted_pixel_by_pixel() -> None:
    """Whether a bound is a number or one for each pixel; an end at infinity is no wall."""
    pixels, some = torch.Size(SHAPE).numel(), torch.linspace(1.0, 2.0, WIDTH, dtype=F64).expand(SHAPE)
    half = torch.where(torch.arange(WIDTH) < 3, torch.inf, 1.0).to(F64).expand(SHAPE)
    walls = ((None, 0), (Box(0.0, 1.0), 2 * pixels), (NonNegative(), pixels), (Box(-some, some), 2 * pixels))
    for constraint, count in (*walls, (Box(0.0, half), pixels + 3 * HEIGHT)):
        layer = Layer.of(replace(problem_of("relu"), constraint=constraint), zeros())
        assert layer.walls == count and layer.lower.shape == layer.upper.shape == SHAPE
        x = torch.full((1, *SHAPE), 5.0, dtype=F64)
        feasible = x if constraint is None else constraint.prox(x)
        torch.testing.assert_close(torch.minimum(torch.maximum(x, layer.lower), layer.upper), feasible, rtol=0, atol=0)
    for activation, bends in (("identity", 0), ("relu", ROWS), ("hardtanh", 2 * ROWS), ("softshrink", 2 * ROWS)):
        for isotropic, cones in ((True, pixels), (False, 2 * pixels)):
            layer = Layer.of(problem_of(activation, isotropic=isotropic), zeros())
            assert (layer.bend_walls, layer.cones) == (bends, cones)


def test_an_empty_batch_stays_empty() -> None:
    problem = problem_of("relu")
    (data_term, penalty), none = problem.terms, torch.zeros(0, dtype=torch.long)
    term, function = data_term.function, penalty.function
    assert isinstance(term, BregmanTerm) and isinstance(function, Scaled) and data_term.offset is not None
    data_term = replace(data_term, function=term.select(none), norm=data_term.norm[:0], offset=data_term.offset[:0])
    penalty = replace(penalty, function=Scaled(function.function, ALPHA[:0]), norm=penalty.norm[:0])
    empty, solver = replace(problem, terms=(data_term, penalty)), InteriorPoint()
    state = solver.step(empty, solver.init(empty, zeros()[:0]))
    assert state.x.shape == (0, *SHAPE) and state.objective.shape == (0,)
