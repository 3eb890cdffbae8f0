"""The restarted primal-dual method against Clarabel: optimum, duality gap, and what a batch must not change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, pairwise

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from netinverse.fidelities import BregmanTerm, DataTerm, SquaredTerm
from netinverse.operators.differences import Gradient
from netinverse.operators.linear import Identity
from netinverse.problems import CompositeProblem, Term
from netinverse.protocols import LinearMap, ProximalFunction
from netinverse.prox import L1, Box, GroupL21, NonNegative, Scaled, Simplex, SquaredNorm, TanhEntropy
from netinverse.solvers.gap import duality_gap
from netinverse.solvers.iterate import Solution, iterates, relative_optimality, solve
from netinverse.solvers.primal_dual import PrimalDual, PrimalDualState
from netinverse.solvers.status import Status

F64 = torch.float64
SIDE, OUTPUTS, BATCH = 6, 30, 3
SHAPE = (1, SIDE, SIDE)
ORACLE = 1e-8  # how far the interior-point minimum may be off
ALPHA = torch.tensor([0.02, 0.1, 0.4], dtype=F64)


@dataclass(frozen=True)
class Layer:
    """x -> W x on flattened images; one matrix for all samples."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.weight).reshape(-1, *SHAPE)


# Each: the activation, the data term, and the same fidelity as cvxpy writes it, up to a constant of the data.
FIDELITIES: dict[
    str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], DataTerm], Callable[..., tuple[cp.Expression, float]]]
] = {
    "identity": (
        lambda z: z,
        SquaredTerm,
        lambda z, y: (0.5 * cp.sum_squares(z - y), 0.0),
    ),
    "relu": (
        lambda z: z.clamp(min=0),
        lambda y: BregmanTerm(NonNegative(), y),
        lambda z, y: (0.5 * cp.sum_squares(cp.pos(z)) - y @ z, 0.5 * y @ y),
    ),
    "hardtanh": (
        lambda z: z.clamp(-1, 1),
        lambda y: BregmanTerm(Box(-1.0, 1.0), y),
        lambda z, y: (0.5 * cp.sum(cp.huber(z, 1)) - y @ z, 0.5 * y @ y),
    ),
    "tanh": (
        torch.tanh,
        lambda y: BregmanTerm(TanhEntropy(), y),
        # Phi(z) = log cosh z, and its conjugate at y
        lambda z, y: (
            cp.sum(cp.logistic(2 * z) - z) - y @ z,
            float((y * np.arctanh(y) + 0.5 * np.log1p(-(y**2)) - np.log(2)).sum()),
        ),
    ),
}
REGULARISERS: dict[str, tuple[ProximalFunction, LinearMap, float, int]] = {
    "tv": (GroupL21(axis=1), Gradient(), Gradient.norm_bound(SHAPE), 2),
    "anisotropic": (L1(), Gradient(), Gradient.norm_bound(SHAPE), 1),
    "tikhonov": (SquaredNorm(), Identity(), 1.0, 0),
}
CONSTRAINTS: dict[str, ProximalFunction | None] = {
    "free": None,
    "box": Box(0.0, 1.0),
    "nonnegative": NonNegative(),
    "simplex": Simplex(),
}


@cache
def layer() -> tuple[Tensor, Tensor, Tensor]:
    """Weight, bias and true images with edges."""
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(OUTPUTS, SIDE * SIDE, generator=generator, dtype=F64) * 0.3
    bias = 0.1 * torch.randn(OUTPUTS, generator=generator, dtype=F64)
    truth = torch.zeros(BATCH, *SHAPE, dtype=F64)
    truth[0, 0, 1:4, 2:5], truth[1, 0, 3:, :3], truth[2, 0, :, 2] = 1.0, 0.8, 0.6
    return weight, bias, truth


@cache
def data(fidelity: str) -> Tensor:
    weight, bias, truth = layer()
    activation = FIDELITIES[fidelity][0]
    noise = 0.03 * torch.randn(BATCH, OUTPUTS, generator=torch.Generator().manual_seed(6), dtype=F64)
    y = activation(truth.flatten(1) @ weight.T + bias) + noise
    return y.clamp(-0.98, 0.98) if fidelity == "tanh" else activation(y)


def problem_of(fidelity: str, regulariser: str, constraint: str, samples: slice = slice(None)) -> CompositeProblem:
    weight, bias, _ = layer()
    y, alpha = data(fidelity)[samples], ALPHA[samples]
    function, transform, bound, _ = REGULARISERS[regulariser]
    size = torch.full_like(alpha, torch.linalg.matrix_norm(weight, 2).item())
    terms = (
        Term(FIDELITIES[fidelity][1](y), Layer(weight), size, bias.expand_as(y)),
        Term(Scaled(function, alpha), transform, torch.full_like(alpha, bound)),
    )
    return CompositeProblem(terms, CONSTRAINTS[constraint])


@cache
def oracle(fidelity: str, regulariser: str, constraint: str) -> tuple[np.ndarray, Tensor]:
    """Minimum and minimiser of each sample by an interior-point method, accurate to about 1e-9."""
    weight, bias, _ = layer()
    values, minimisers = [], []
    for y, alpha in zip(data(fidelity).numpy(), ALPHA.tolist(), strict=True):
        v = cp.Variable((SIDE, SIDE))
        misfit, constant = FIDELITIES[fidelity][2](weight.numpy() @ cp.vec(v, order="C") + bias.numpy(), y)
        right = cp.hstack([v[:, 1:] - v[:, :-1], np.zeros((SIDE, 1))])
        down = cp.vstack([v[1:] - v[:-1], np.zeros((1, SIDE))])
        order = REGULARISERS[regulariser][3]
        if order:
            penalty = cp.sum(cp.norm(cp.vstack([cp.vec(down, order="C"), cp.vec(right, order="C")]), order, axis=0))
        else:
            penalty = 0.5 * cp.sum_squares(v)
        limits = {"free": [], "box": [v >= 0, v <= 1], "nonnegative": [v >= 0], "simplex": [v >= 0, cp.sum(v, axis=1) == 1]}[
            constraint
        ]
        program = cp.Problem(cp.Minimize(misfit + alpha * penalty), limits)
        program.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        values.append(program.value + constant)
        minimisers.append(v.value)
    return np.array(values), torch.as_tensor(np.stack(minimisers)).reshape(BATCH, *SHAPE)


def solved(problem: CompositeProblem, x: Tensor, tolerance: float = 1e-7) -> Solution[PrimalDualState]:
    return solve(PrimalDual(), problem, PrimalDual().init(problem, x), stop=relative_optimality(tolerance), max_steps=800)


def zeros() -> Tensor:
    return torch.zeros(BATCH, *SHAPE, dtype=F64)


def reach(x: Tensor, minimiser: Tensor) -> np.ndarray:
    """How far beyond the radius of the gap the minimiser lies, at least 1."""
    radius = (2 * x.flatten(1).abs().amax(1)).clamp(min=1)
    return ((x - minimiser).flatten(1).abs().amax(1) / radius).clamp(min=1).numpy()


CASES = [
    *((f, "tv", c) for f in ("identity", "relu", "hardtanh") for c in ("free", "box", "nonnegative")),
    ("tanh", "tv", "box"),
    ("relu", "anisotropic", "box"),
    ("tanh", "tikhonov", "free"),
    ("relu", "tikhonov", "nonnegative"),
    ("identity", "tv", "simplex"),
]
each_case = pytest.mark.parametrize("case", CASES, ids="-".join)


@each_case
def test_the_optimum_of_clarabel_is_reached_and_the_gap_is_honest(case: tuple[str, str, str]) -> None:
    problem, (minimum, minimiser) = problem_of(*case), oracle(*case)
    found = solved(problem, zeros())
    assert found.status == (Status.CONVERGED,) * BATCH
    x, gap = found.state.x, found.state.optimality.numpy()
    excess = found.state.objective.numpy() - minimum
    assert (excess >= -ORACLE).all()
    assert (excess <= gap * reach(x, minimiser) + ORACLE).all()
    assert (excess <= 1e-6 * np.abs(minimum) + ORACLE).all()
    if problem.constraint is not None:
        assert problem.constraint(x).abs().max() == 0


@pytest.mark.parametrize("case", [("relu", "tv", "box"), ("tanh", "tv", "free"), ("hardtanh", "tv", "nonnegative")], ids="-".join)
def test_the_gap_bounds_the_excess_at_every_step(case: tuple[str, str, str]) -> None:
    """From the first state on; the certified pair only improves, and its objective is that of its x."""
    problem, (minimum, minimiser) = problem_of(*case), oracle(*case)
    weight, bias, _ = layer()
    function, transform, _, _ = REGULARISERS[case[1]]
    term = FIDELITIES[case[0]][1](data(case[0]))
    states = list(islice(iterates(PrimalDual(5), problem, zeros()), 60))
    for before, state in pairwise(states):
        assert (state.optimality <= before.optimality).all()
    for state in states:
        objective = term(state.x.flatten(1) @ weight.T + bias) + ALPHA * function(transform(state.x))
        torch.testing.assert_close(state.objective, objective, rtol=1e-12, atol=1e-12)
        excess = state.objective.numpy() - minimum
        assert (excess <= state.optimality.numpy() * reach(state.x, minimiser) + ORACLE).all()


@pytest.mark.parametrize("upper", [0.3, 0.7, 0.8])
def test_no_rounding_of_a_mean_leaves_the_constraint_set(upper: float) -> None:
    """Not even by one unit in the last place: the mean of 25 numbers 0.8 is 0.8000000000000004."""
    box = Box(0.1, upper)
    problem = replace(problem_of("relu", "tv", "box"), constraint=box)
    for state in islice(iterates(PrimalDual(), problem, zeros()), 40):
        assert (box(state.x) == 0).all() and (box(state.mean.x) == 0).all()


def test_the_gap_bounds_the_excess_at_any_pair() -> None:
    """Not only along the method: random points and random feasible duals."""
    case = ("relu", "tv", "box")
    problem, (minimum, _) = problem_of(*case), oracle(*case)
    generator = torch.Generator().manual_seed(1)
    for scale in (0.01, 0.3, 1.0):
        x = torch.rand(BATCH, *SHAPE, generator=generator, dtype=F64)
        noise = (scale * torch.randn(BATCH, OUTPUTS, generator=generator, dtype=F64)).clamp(min=-1)
        fields = torch.randn(BATCH, 2, *SHAPE, generator=generator, dtype=F64)
        fields = ALPHA.reshape(-1, 1, 1, 1, 1) * fields / (1 + fields.norm(dim=1, keepdim=True))
        value, gap = duality_gap(problem, x, (torch.maximum(noise, -data("relu")), fields))
        assert torch.isfinite(gap).all()
        assert (value.numpy() - minimum <= gap.numpy() + ORACLE).all()


@pytest.mark.parametrize("case", [("relu", "tv", "box"), ("tanh", "tikhonov", "free")], ids="-".join)
def test_a_sample_alone_is_the_sample_in_the_batch(case: tuple[str, str, str]) -> None:
    together = solved(problem_of(*case), zeros(), 1e-4)
    for i in range(BATCH):
        alone = solved(problem_of(*case, slice(i, i + 1)), zeros()[:1], 1e-4)
        assert (alone.state.x[0] - together.state.x[i]).abs().max() <= 1e-9
        assert alone.steps[0] == together.steps[i]


def test_the_input_stays_and_the_bits_repeat() -> None:
    problem, x = problem_of("relu", "tv", "box"), zeros() + 0.3
    y = data("relu").clone()
    first, second = solved(problem, x, 1e-4), solved(problem, x, 1e-4)
    assert torch.equal(first.state.x, second.state.x) and torch.equal(first.state.optimality, second.state.optimality)
    assert torch.equal(x, zeros() + 0.3) and torch.equal(y, data("relu"))


def test_duals_of_the_answer_save_steps_and_wild_duals_do_no_harm() -> None:
    problem = problem_of("relu", "tv", "box")
    cold = solved(problem, zeros(), 1e-5)
    end = cold.state
    for duals, limit in ((end.best.duals, cold.steps), (tuple(100 * (1 + q.abs()) for q in end.best.duals), cold.steps + 800)):
        start = PrimalDual().init(problem, end.x, duals, end.primal_weight)
        assert torch.isfinite(start.objective).all()
        again = solve(PrimalDual(), problem, start, stop=relative_optimality(1e-5), max_steps=800)
        assert again.status == (Status.CONVERGED,) * BATCH and (again.steps < limit).all()


def test_a_term_without_a_proximal_map_is_refused() -> None:
    class Concave:
        def __call__(self, x: Tensor) -> Tensor:
            return -x.square().sum(1)

    problem = CompositeProblem((Term(Concave(), Identity(), torch.ones(2)),), None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="PrimalDual: the function Concave of a term has no prox and no conjugate"):
        PrimalDual().init(problem, torch.zeros(2, 3))
