"""Gauss-Newton and its stationarity residual against Clarabel, scipy and dense linear algebra."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from netinverse.fidelities import SquaredFidelity, SquaredTerm
from netinverse.inversion import invert
from netinverse.methods.formulations import certificate
from netinverse.networks import NetworkOutput, lift
from netinverse.networks.derivative import NetworkDerivative
from netinverse.parameter_choice import Fixed
from netinverse.problems import InverseProblem
from netinverse.protocols import ProximalFunction
from netinverse.prox import Box, NonNegative
from netinverse.regularisers import Regulariser, Sparsity, Tikhonov, TotalVariation
from netinverse.solvers.convex import Convex, data_scale, factorised
from netinverse.solvers.gauss_newton import GaussNewton
from netinverse.solvers.iterate import Solution, iterates, relative_optimality, solve
from netinverse.solvers.stationarity import ProximalGradientStep, fidelity_gradient, proximal_gradient_step
from netinverse.solvers.status import Status
from netinverse.tensors import norm
from tests.solvers.layered import ALPHA, BATCH, F64, SHAPE, layered, problem_of, zeros


def solved(
    problem: InverseProblem, x: Tensor, tolerance: float = 1e-6, max_steps: int = 40, solver: GaussNewton | Convex | None = None
) -> Solution[Any]:
    solver = GaussNewton(tolerance=tolerance / 2) if solver is None else solver
    return solve(solver, problem, solver.init(problem, x), stop=relative_optimality(tolerance), max_steps=max_steps)


def total_variation(v: cp.Variable) -> cp.Expression:
    right = cp.hstack([v[:, 1:] - v[:, :-1], np.zeros((5, 1))])
    down = cp.vstack([v[1:] - v[:-1], np.zeros((1, 5))])
    return cp.sum(cp.norm(cp.vstack([cp.vec(down, order="C"), cp.vec(right, order="C")]), 2, axis=0))


def optimum(objective: cp.Expression, v: cp.Variable, box: bool) -> float:
    program = cp.Problem(cp.Minimize(objective), [v >= 0, v <= 1] if box else [])
    program.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return float(program.value)


@pytest.mark.parametrize(
    "regulariser, constraint",
    [(TotalVariation(), Box(0.0, 1.0)), (TotalVariation(), None), (Tikhonov(), NonNegative()), (Sparsity(), None)],
    ids=str,
)
@pytest.mark.parametrize("squared", [False, True])
def test_the_objective_never_rises(regulariser: Regulariser, constraint: ProximalFunction | None, squared: bool) -> None:
    """And it is the objective of the state's x, which the constraint holds."""
    model = layered(30, 28)
    problem = problem_of(model, regulariser, constraint, squared=squared)
    states = list(islice(iterates(GaussNewton(max_inner_steps=8), problem, zeros() + 0.1), 6))
    for before, after in pairwise(states):
        assert (after.objective <= before.objective).all()
        output = model(after.x)
        torch.testing.assert_close(after.residual, (output - problem.data).norm(dim=1), rtol=1e-12, atol=0)
        torch.testing.assert_close(after.objective, problem.objective(after.x), rtol=1e-12, atol=0)
        if squared:
            value = 0.5 * (output - problem.data).square().sum(1) + ALPHA * regulariser(after.x)
            torch.testing.assert_close(after.objective, value, rtol=1e-12, atol=0)
        if constraint is not None:
            assert constraint(after.x).abs().max() == 0
    assert (states[-1].objective < states[0].objective).all()


def test_no_rounding_of_a_step_leaves_the_constraint_set() -> None:
    """Not even by one unit in the last place: 0.7 + (0.1 - 0.7) is 0.09999999999999998."""
    box = Box(0.1, 0.8)
    problem = problem_of(layered(30, 28), TotalVariation(), box)
    start = 0.1 + 0.7 * torch.rand(zeros().shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    for state in islice(iterates(GaussNewton(polishing_steps=0), problem, start), 4):
        assert (box(state.x) == 0).all()


def test_a_single_layer_is_solved_to_the_convex_optimum() -> None:
    """ReLU layer, total variation, box: Clarabel's minimum, and a duality gap that bounds what is left."""
    model = layered(30)
    problem = problem_of(model, TotalVariation(), Box(0.0, 1.0), affine=True)
    found = solved(problem, zeros(), max_steps=600, solver=Convex()).state
    weight, bias = model[1].weight.numpy(), model[1].bias.numpy()
    for i, (y, alpha) in enumerate(zip(problem.data.numpy(), ALPHA.tolist(), strict=True)):
        v = cp.Variable((5, 5))
        z = weight @ cp.vec(v, order="C") + bias
        minimum = optimum(0.5 * cp.sum_squares(cp.pos(z)) - y @ z + alpha * total_variation(v), v, box=True) + 0.5 * y @ y
        excess = found.objective[i].item() - minimum
        assert -1e-8 <= excess <= found.optimality[i].item() + 1e-8
        assert found.optimality[i] <= 1e-6 * found.objective[i] and excess <= 1e-6 * minimum + 1e-8
    assert certificate(problem, found.optimality).kind == "duality gap"
    assert certificate(problem_of(layered(30, 28), TotalVariation()), found.optimality).kind == "stationarity"


def test_a_linear_network_is_solved_to_the_normal_equations() -> None:
    model = layered(30, last=None)
    problem = problem_of(model, Tikhonov(), affine=True)
    found = solved(problem, zeros(), tolerance=1e-10, max_steps=600, solver=Convex()).state
    weight, bias = model[1].weight, model[1].bias
    for i, alpha in enumerate(ALPHA.tolist()):
        system = weight.T @ weight + alpha * torch.eye(25, dtype=F64)
        expected = torch.linalg.solve(system, weight.T @ (problem.data[i] - bias))
        # alpha/2 ||x - expected||^2 <= objective - minimum <= gap
        assert (found.x[i].flatten() - expected).norm() <= (2 * found.optimality[i] / alpha).sqrt() + 1e-9


def minimiser_by_scipy(model: nn.Module, data: Tensor, alpha: float, x: Tensor) -> tuple[Tensor, float]:
    """L-BFGS on 1/2||F(x) - y||^2 + alpha/2||x||^2 with torch's own gradient."""

    def value_and_grad(flat: np.ndarray) -> tuple[float, np.ndarray]:
        v = torch.tensor(flat, dtype=F64).requires_grad_(True)
        value = 0.5 * (model(v.reshape(1, *SHAPE)) - data).square().sum() + 0.5 * alpha * v.square().sum()
        value.backward()
        assert v.grad is not None
        return value.item(), v.grad.numpy()

    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 40}
    found = minimize(value_and_grad, x.flatten().numpy(), jac=True, method="L-BFGS-B", options=options)
    return torch.tensor(found.x, dtype=F64).reshape(SHAPE), float(found.fun)


def smooth_problem() -> tuple[nn.Sequential, InverseProblem]:
    model = layered(30, 28, activation=nn.Tanh, last=nn.Tanh)
    return model, problem_of(model, Tikhonov(), squared=True)


def test_scipy_finds_the_same_minimiser_of_a_smooth_problem() -> None:
    model, problem = smooth_problem()
    found = solved(problem, zeros(), tolerance=1e-9, max_steps=60)
    for i in range(BATCH):
        x, value = minimiser_by_scipy(model, problem.data[i : i + 1], ALPHA[i].item(), zeros(1))
        assert found.status[i] in (Status.CONVERGED, Status.STALLED)
        assert abs(found.state.objective[i].item() - value) <= 1e-7 * value
        assert (found.state.x[i] - x).norm() <= 1e-3 * x.norm()


def measured(problem: InverseProblem, x: Tensor, sizes: Tensor, tolerance: float) -> ProximalGradientStep:
    """The step and the residual from the gradient at x, without anything to start from."""
    dual = torch.zeros_like(problem.penalty_term(SHAPE).image(x))
    return proximal_gradient_step(problem, x, fidelity_gradient(problem, x), sizes, dual, tolerance)


def dense_jacobian(model: nn.Module, x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(lambda v: model(v.reshape(1, *SHAPE)).flatten(), x.flatten())


def test_the_residual_is_zero_at_an_exact_solution_and_only_there() -> None:
    model, problem = smooth_problem()
    points = torch.stack([minimiser_by_scipy(model, problem.data[i : i + 1], ALPHA[i].item(), zeros(1))[0] for i in range(BATCH)])
    sizes = torch.stack([torch.linalg.matrix_norm(dense_jacobian(model, x), 2) for x in points])
    assert (measured(problem, points, sizes, 1e-8).residual <= 1e-12 * problem.objective(points)).all()
    assert (measured(problem, points + 0.01, sizes, 1e-8).residual > 1e-6).all()


@pytest.mark.parametrize("squared", [False, True])
def test_the_residual_against_a_dense_computation(squared: bool) -> None:
    """D(x) = max over v in the box of <g, x - v> + alpha TV(x) - alpha TV(v) - L^2/2 ||v - x||^2, the maximum by Clarabel.

    g from the matrices of the layers. The residual is never below D nor above it by more than its tolerance, and D is at least
    L^2/2 times the squared length of the proximal-gradient step.
    """
    model, constraint, tolerance = layered(30, 28), Box(0.0, 1.0), 1e-6
    problem = problem_of(model, TotalVariation(), constraint, squared=squared)
    generator = torch.Generator().manual_seed(4)
    points = torch.rand(BATCH, *SHAPE, generator=generator, dtype=F64)
    front = model if squared else model[:-1]
    sizes = torch.stack([torch.linalg.matrix_norm(dense_jacobian(front, x), 2) for x in points])
    found = measured(problem, points, sizes, tolerance)
    for i, x in enumerate(points):
        derivative = dense_jacobian(front, x)
        g = (derivative.T @ (model(x[None]) - problem.data[i]).flatten()).reshape(5, 5).numpy()
        here, half, alpha = x[0].numpy(), 0.5 * sizes[i].item() ** 2, ALPHA[i].item()
        v = cp.Variable((5, 5))
        least = optimum(cp.sum(cp.multiply(g, v - here)) + half * cp.sum_squares(v - here) + alpha * total_variation(v), v, True)
        exact = alpha * TotalVariation()(x[None]).item() - least
        assert exact - 1e-8 <= found.residual[i].item() <= exact + tolerance * half * 2 * (np.linalg.norm(g) ** 2 + 1) + 1e-8
        assert exact >= half * np.sum((v.value - here) ** 2) - 1e-8
        np.testing.assert_allclose(found.x[i, 0].numpy(), v.value, atol=2e-3)


@pytest.mark.parametrize("affine", [True, False])
def test_a_sample_alone_is_the_sample_in_the_batch(affine: bool) -> None:
    model = layered(30) if affine else layered(30, 28)
    together = solved(problem_of(model, TotalVariation(), Box(0.0, 1.0), affine=affine), zeros(), 1e-4, 8)
    for i in range(BATCH):
        problem = problem_of(model, TotalVariation(), Box(0.0, 1.0), affine=affine, samples=slice(i, i + 1))
        alone = solved(problem, zeros(1), 1e-4, 8)
        assert (alone.state.x[0] - together.state.x[i]).abs().max() <= 1e-9


def test_the_input_stays_and_the_bits_repeat() -> None:
    model, x = layered(30, 28), zeros() + 0.2
    weights = [p.clone() for p in model.parameters()]
    problem = problem_of(model, TotalVariation(), Box(0.0, 1.0))
    y = problem.data.clone()
    first, second = solved(problem, x, 1e-4, 5), solved(problem, x, 1e-4, 5)
    assert torch.equal(first.state.x, second.state.x) and torch.equal(first.state.optimality, second.state.optimality)
    assert torch.equal(x, zeros() + 0.2) and torch.equal(problem.data, y)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), weights, strict=True))


def test_a_warm_start_at_another_weight_keeps_the_point_and_recomputes_what_is_said_of_it() -> None:
    problem = problem_of(layered(30, 28), TotalVariation(), Box(0.0, 1.0))
    state = solved(problem, zeros(), 1e-3, 4).state
    lighter = problem.at(ALPHA / 4)
    warm = GaussNewton().init(lighter, state.x, state)
    assert torch.equal(warm.x, state.x) and torch.equal(warm.objective, lighter.objective(state.x))
    assert (warm.optimality == torch.inf).all() and not warm.stalled.any()


def test_a_step_that_leaves_the_residual_settled_is_the_last() -> None:
    problem = problem_of(layered(40, 30), TotalVariation())
    start = torch.full((BATCH, *SHAPE), 0.5, dtype=F64)
    solver = GaussNewton(settled=0.1)
    found = solve(solver, problem, solver.init(problem, start), stop=relative_optimality(1e-12), max_steps=50)
    assert found.status == (Status.STALLED,) * BATCH
    for sample, steps in enumerate(found.steps.tolist()):
        residuals = [state.residual[sample].item() for state in islice(iterates(solver, problem, start), steps + 1)]
        changes = [abs(after - before) / before for before, after in pairwise(residuals)]
        assert changes[-1] < 0.1 and all(change >= 0.1 for change in changes[:-1])


def test_factorisation_is_for_small_dense_maps_and_functions_that_the_interior_point_method_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense, start = layered(30), torch.zeros(BATCH, *SHAPE, dtype=F64)
    assert factorised(problem_of(dense, Sparsity(), affine=True), start) is None
    problem = problem_of(dense, TotalVariation(), affine=True)
    assert factorised(problem, start) is not None
    monkeypatch.setattr("netinverse.solvers.convex.FACTOR_LIMIT", 1e3)
    assert factorised(problem, start) is None


@pytest.mark.parametrize("regulariser", [Tikhonov(), TotalVariation()], ids=str)
def test_the_last_activation_is_not_linearised(regulariser: Regulariser) -> None:
    """Behind one layer the pre-activation is affine: its linearisation is exact, and one step ends at the convex optimum."""
    model = layered(30)
    problem = problem_of(model, regulariser, Box(0.0, 1.0))
    convex = solved(problem_of(model, regulariser, Box(0.0, 1.0), affine=True), zeros(), max_steps=600, solver=Convex()).state
    solver = GaussNewton(inner_tolerance=1e-7, forcing=1e-7, max_inner_steps=200, polishing_steps=0)
    state = solver.step(problem, solver.init(problem, zeros()))
    assert (state.objective <= convex.objective * (1 + 1e-5)).all()
    linearised = problem_of(model, regulariser, Box(0.0, 1.0), squared=True)  # the activation itself, for which a step is too few
    assert (solver.step(linearised, solver.init(linearised, zeros())).objective > 1.001 * convex.objective).any()


def test_the_inner_solver_is_as_exact_as_the_forcing_term_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tighter term costs products with the derivative, and buys a decrease of at least its share."""
    problem = problem_of(layered(30, 28), TotalVariation(), Box(0.0, 1.0))
    start, spent, reached = zeros() + 0.1, [0, 0], []
    pull = NetworkDerivative.adjoint
    for turn, forcing in enumerate((0.5, 1e-3)):

        def counted(self: NetworkDerivative, y: Tensor, turn: int = turn) -> Tensor:
            spent[turn] += 1
            return pull(self, y)

        monkeypatch.setattr(NetworkDerivative, "adjoint", counted)
        solver = GaussNewton(forcing=forcing, inner_tolerance=1e-9, polishing_steps=0, max_inner_steps=200)
        state = solver.step(problem, solver.init(problem, start))
        reached.append(problem.objective(start) - state.objective)
    assert spent[0] < spent[1]
    assert (reached[0] > 0).all() and (reached[1] > 0).all()


def test_one_step_runs_the_network_once_for_all_its_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many products with the derivative the inner solver takes, they come from one recorded evaluation."""
    problem = problem_of(layered(30, 28), TotalVariation(), Box(0.0, 1.0))
    recorded, products = [], []
    build, pull = NetworkDerivative.__init__, NetworkDerivative.adjoint
    monkeypatch.setattr(NetworkDerivative, "__init__", lambda self, *given: (recorded.append(1), build(self, *given))[1])
    monkeypatch.setattr(NetworkDerivative, "adjoint", lambda self, y: (products.append(1), pull(self, y))[1])
    solver = GaussNewton(polishing_steps=0)
    state = solver.init(problem, zeros())
    recorded.clear()
    solver.step(problem, state)
    assert len(recorded) == 3 and len(products) > 20  # the step's own, and at its end for the gradient and for the norm


def test_the_scale_of_the_answer_is_in_proportion_to_the_data_and_is_one_where_there_are_none() -> None:
    """||grad G(z)||/(||K|| sqrt(n)) at z = 0, or the size of the start where that is larger."""
    problem, size = problem_of(layered(20, last=None), Tikhonov(), squared=True), torch.tensor([1.0, 2.0, 4.0], dtype=F64)
    value, n = torch.zeros_like(problem.data), zeros()[0].numel()
    for factor in (1e-9, 1.0, 1e9):
        scaled = replace(problem, term=SquaredTerm(factor * problem.data))
        expected = factor * norm(problem.data) / (size * n**0.5)
        torch.testing.assert_close(data_scale(scaled, value, size, zeros()), expected, rtol=1e-12, atol=0)
        start = 3 * factor * torch.ones_like(zeros())
        torch.testing.assert_close(
            data_scale(scaled, value, size, start), (3 * factor * size**0).maximum(expected), rtol=1e-12, atol=0
        )
    nothing = replace(problem, term=SquaredTerm(value))
    assert data_scale(nothing, value, size, zeros()).tolist() == [1.0] * BATCH


def test_each_sample_takes_its_own_step_length() -> None:
    """tanh x = 0: from 1.5 the linearisation leads past the other branch, and that step alone is halved; Newton's by hand."""
    layer = nn.Linear(1, 1).double().requires_grad_(False)
    layer.weight.fill_(1.0)
    layer.bias.fill_(0.0)
    network = lift(nn.Sequential(layer, nn.Tanh()), torch.zeros(2, 1, dtype=F64))
    x, zero = torch.tensor([[0.3], [1.5], [-0.5]], dtype=F64), torch.zeros(3, 1, dtype=F64)
    operator = NetworkOutput(network)
    term, alpha = SquaredFidelity().at(network, zero), torch.full((3,), 1e-9, dtype=F64)
    problem = InverseProblem(operator, operator, term, zero, Tikhonov(), None, alpha, affine=False)
    solver = GaussNewton(polishing_steps=0, forcing=1e-6, inner_tolerance=1e-9, max_inner_steps=200)
    after = solver.step(problem, solver.init(problem, x)).x
    newton = -torch.tanh(x) / (1 - torch.tanh(x).square())
    torch.testing.assert_close((after - x) / newton, torch.tensor([[1.0], [0.5], [1.0]], dtype=F64), rtol=1e-3, atol=0)


class Root(nn.Module):
    """x -> (x, sqrt(relu(x + 1))), whose derivative is 0 * inf from x = -1 down."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.sqrt(torch.relu(x + 1))], 1)


def test_a_nan_that_arises_in_one_step_ends_its_sample_alone_with_the_last_good_state() -> None:
    data = torch.tensor([[1.0, 1.4], [-2.0, 0.0], [0.5, 1.2]], dtype=F64)
    found = invert(Root(), data, input_shape=1, rule=Fixed(1e-3), regulariser=Tikhonov())
    assert found.status[1] is Status.DIVERGED and "NaN or infinite" in found.status[1].value
    assert found.status[0] is found.status[2] is Status.CONVERGED
    assert torch.isfinite(found.x).all() and torch.isfinite(found.residual).all()
    assert found.x[1].item() < -1 and found.steps[1] > 1  # the end of the steps before
    assert "sample 1" in found.summary()
