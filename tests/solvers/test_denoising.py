"""Regularisation by denoising, solved by hand: the equation of a linear denoiser, and its stationarity residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.fidelities import SquaredFidelity
from netinverse.networks import NetworkOutput, lift
from netinverse.problems import InverseProblem
from netinverse.solvers.denoising import Denoising
from netinverse.solvers.gauss_newton import GaussNewton
from netinverse.solvers.iterate import iterates, relative_optimality, solve
from netinverse.solvers.status import Status

F64 = torch.float64
ALPHA = torch.tensor([0.3, 1.0, 0.1], dtype=F64)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def setting() -> tuple[Tensor, Tensor, Tensor, InverseProblem]:
    """A, D symmetric with eigenvalues in [0, 1], y, and the problem."""
    a, y, basis = drawn(4, 6, seed=1), drawn(3, 4, seed=2), torch.linalg.qr(drawn(6, 6, seed=7))[0]
    d = basis @ torch.diag(torch.tensor([0.9, 0.8, 0.6, 0.5, 0.2, 0.0], dtype=F64)) @ basis.T
    model = nn.Linear(6, 4, bias=False).double().eval().requires_grad_(False)
    model.weight.copy_(a)
    network = lift(model, torch.zeros(2, 6, dtype=F64))
    fidelity, prior = SquaredFidelity(), ni.DenoiserPrior(lambda x: x @ d)
    variable = fidelity.variable(network)
    problem = InverseProblem(variable, NetworkOutput(network), fidelity.at(network, y), y, prior, None, ALPHA, affine=True)
    return a, d, y, problem


def test_the_limit_solves_the_equation_of_the_denoiser_sample_by_sample() -> None:
    """(A^T A + alpha (I - D)) x = A^T y; what the state says of x is true of it."""
    a, d, y, problem = setting()
    solver, x = Denoising(GaussNewton(tolerance=1e-8)), torch.zeros(3, 6, dtype=F64)
    found = solve(solver, problem, solver.init(problem, x), stop=relative_optimality(1e-8), max_steps=400)
    assert found.status == (Status.CONVERGED,) * 3
    state = found.state
    for i, alpha in enumerate(ALPHA):
        exact = torch.linalg.solve(a.T @ a + alpha * (torch.eye(6, dtype=F64) - d), a.T @ y[i])
        torch.testing.assert_close(state.x[i], exact, rtol=0, atol=3e-3)
    torch.testing.assert_close(state.objective, problem.objective(state.x))
    torch.testing.assert_close(state.residual, (state.x @ a.T - y).norm(dim=1))
    torch.testing.assert_close(state.duals[1], ALPHA[:, None] * (state.x - state.x @ d), rtol=1e-12, atol=1e-12)


def test_the_optimality_is_that_of_the_gradient_with_the_denoiser() -> None:
    """Free and with a convex model of curvature alpha: at most ||A^T (A x - y) + alpha (x - D x)||^2 / (2 alpha)."""
    a, d, y, problem = setting()
    states = iterates(Denoising(), problem, drawn(3, 6, seed=3))
    next(states)
    for _ in range(3):
        state = next(states)
        gradient = (state.x @ a.T - y) @ a + ALPHA[:, None] * (state.x - state.x @ d)
        bound = gradient.square().sum(1) / (2 * ALPHA)
        assert (state.optimality <= bound * (1 + 1e-9) + 1e-15).all()
        largest = torch.linalg.matrix_norm(a, 2) ** 2
        assert (state.optimality >= 0.5 * gradient.square().sum(1) / (1.1 * largest + ALPHA) * (1 - 1e-9)).all()
