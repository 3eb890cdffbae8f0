"""The certificate of jointly convex lifted energies against Clarabel, strong convexity and the reduced problem."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

import netinverse as ni
from netinverse.fidelities import SquaredFidelity
from netinverse.networks import LiftedNetwork, NetworkOutput, monotone_residual_network
from netinverse.problems import InverseProblem, LiftedProblem
from netinverse.prox import Box
from netinverse.regularisers import Regulariser, Sparsity, Tikhonov, TotalVariation
from netinverse.solvers.block_descent import BlockDescent
from netinverse.solvers.convex_gap import convex_gap
from netinverse.tensors import norm

F64 = torch.float64
BATCH, SIZE = 2, 6
ALPHA = torch.tensor([0.05, 0.3], dtype=F64)


def network(layers: int = 3) -> LiftedNetwork:
    return monotone_residual_network(SIZE, layers, width=4, seed=3, dtype=F64)


def problem_of(
    layers: int, regulariser: Regulariser, constraint: Box | None = None, weight: float | None = None
) -> LiftedProblem:
    net = network(layers)
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(BATCH, SIZE, generator=generator, dtype=F64)
    data = net(truth).detach() + 0.1 * torch.randn(BATCH, SIZE, generator=generator, dtype=F64)
    fidelity = SquaredFidelity()
    inverse = InverseProblem(
        variable=fidelity.variable(net),
        output=NetworkOutput(net),
        term=fidelity.at(net, data),
        data=data,
        regulariser=regulariser,
        constraint=constraint,
        alpha=ALPHA,
        affine=False,
    )
    return LiftedProblem.lift(inverse, net, weight)


def matrices(layers: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """W_k and b_k, read off the network's own parameters."""
    parts = list(network(layers).parameters())
    return [(w.detach().numpy(), b.detach().numpy()) for w, b in zip(parts[::2], parts[1::2], strict=True)]


def minimum(problem: LiftedProblem, layers: int, sample: int, weight: float) -> tuple[float, np.ndarray]:
    """Clarabel's, of the energy written without its bilinear terms: with v_l = W_l^T u_l and V their sum,

    (1 - lambda)/2 ||x + V||^2 - <x + V, y> + ||y||^2/2 + lambda/2 ||x||^2
    + lambda sum 1/2||v_l||^2 + 1/2||u_l||^2 + 1/2||max(z_l, 0)||^2 - <u_l, b_l>, u_l >= 0.
    """
    y, alpha = problem.inverse.data[sample].numpy(), ALPHA[sample].item()
    x, total = cp.Variable(SIZE), 0.0
    state, layers_cost, constraints = x, 0.0, []
    for w, b in matrices(layers):
        u = cp.Variable(len(b))
        z, v = w @ state + b, w.T @ u
        layers_cost += cp.sum_squares(v) / 2 + cp.sum_squares(u) / 2 + cp.sum_squares(cp.pos(z)) / 2 - u @ b
        constraints.append(u >= 0)
        state = state + v
    total = (1 - weight) / 2 * cp.sum_squares(state) if weight < 1 else 0.0
    total += -state @ y + y @ y / 2 + weight * (cp.sum_squares(x) / 2 + layers_cost)
    if isinstance(problem.inverse.regulariser, Tikhonov):
        total += alpha / 2 * cp.sum_squares(x)
    elif isinstance(problem.inverse.regulariser, Sparsity):
        total += alpha * cp.norm1(x)
    if problem.inverse.constraint is not None:
        constraints += [x >= -0.3, x <= 0.6]
    program = cp.Problem(cp.Minimize(total), constraints)
    program.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return float(program.value), x.value


@pytest.mark.parametrize(
    "layers, regulariser, constraint, weight",
    [
        (1, Tikhonov(), None, 1.0),
        (3, Sparsity(), None, 1.0),
        (3, Tikhonov(), Box(-0.3, 0.6), 0.5),
        (3, Sparsity(), Box(-0.3, 0.6), 1.0),
    ],
)
def test_the_gap_bounds_what_clarabel_leaves_to_gain(
    layers: int, regulariser: Regulariser, constraint: Box | None, weight: float
) -> None:
    """At every iterate and at random points, and the distance of x from the minimiser with it; at the end it is tiny."""
    problem = problem_of(layers, regulariser, constraint, weight)
    values, points = zip(*(minimum(problem, layers, i, weight) for i in range(BATCH)), strict=True)
    least, minimisers = torch.tensor(values, dtype=F64), torch.tensor(np.stack(points))
    solver = BlockDescent(tolerance=1e-9, sweeps_per_step=1)
    state = solver.init(problem, torch.zeros(BATCH, SIZE, dtype=F64))
    generator = torch.Generator().manual_seed(1)
    for _ in range(30):
        state = solver.step(problem, state)
        excess = state.objective - least
        assert (excess >= -1e-9).all()
        assert (excess <= state.optimality + 1e-9).all()
        assert (norm(state.x - minimisers) <= (2 * state.optimality / problem.modulus).sqrt() + 1e-5).all()
        with torch.no_grad():
            x = problem.feasible(torch.randn(BATCH, SIZE, generator=generator, dtype=F64))
            us = tuple(torch.rand(u.shape, generator=generator, dtype=F64) for u in state.us)
            gap = convex_gap(problem, x, us, state.dual, 1e-9)
        assert (problem.objective(x, us) - least <= gap).all()
    assert (state.optimality <= 1e-6 * state.objective).all()


def test_the_lifted_minimum_is_below_the_reduced_one() -> None:
    """E(x, u(x)) is the reduced objective, so that E - gap is a lower bound of it at any input."""
    problem = problem_of(3, Tikhonov())
    solver = BlockDescent()
    state = solver.init(problem, torch.zeros(BATCH, SIZE, dtype=F64))
    for _ in range(4):
        state = solver.step(problem, state)
    generator = torch.Generator().manual_seed(2)
    for spread in (0.0, 0.01, 0.3):
        x = state.x + spread * torch.randn(BATCH, SIZE, generator=generator, dtype=F64)
        assert (problem.inverse.objective(x) >= state.objective - state.optimality).all()


@pytest.mark.slow
def test_heavier_layers_lead_to_the_reduced_solution() -> None:
    """The law of continuation: the violation falls as one over the weight, the minimum rises, x and its residual converge."""
    found: list[tuple[Tensor, ...]] = []
    solver, method = BlockDescent(tolerance=1e-10, sweeps_per_step=100), ni.Variational("reduced")
    first = problem_of(1, Tikhonov())
    reduced = ni.invert(network(1), first.inverse.data, rule=ni.Fixed(ALPHA), method=method, tolerance=1e-9)
    least = reduced.fidelity_value + ALPHA * Tikhonov()(reduced.x)
    for weight in (10.0, 100.0, 1000.0):
        problem = problem_of(1, Tikhonov(), weight=weight)
        state = solver.init(problem, torch.zeros(BATCH, SIZE, dtype=F64))
        for _ in range(2 if weight < 1000 else 6):
            state = solver.step(problem, state)
        with torch.no_grad():
            own = problem.energy.activations(state.x)
        violation = sum((norm(a - u).square() for a, u in zip(own, state.us, strict=True)), torch.zeros(BATCH, dtype=F64)).sqrt()
        assert (violation.square() <= 2 * least / weight).all()
        found.append((violation, state.objective, norm(state.x - reduced.x), (state.residual - reduced.residual).abs()))
    for before, after in pairwise(found):
        assert (after[0] <= 0.15 * before[0]).all()
        assert (after[1] >= before[1]).all() and (after[1] <= least * (1 + 1e-6)).all()
        assert (after[2] <= 0.2 * before[2]).all() and (after[3] <= 0.2 * before[3]).all()


@pytest.mark.parametrize("relative", [0.01, 0.1])
def test_invert_gives_the_global_certificate_to_plus_layers_and_says_so(relative: float) -> None:
    net = network()
    truth = torch.randn(3, SIZE, generator=torch.Generator().manual_seed(4), dtype=F64)
    data, level = ni.add_noise(net(truth), relative=relative, seed=0)
    for method in (ni.Variational(), ni.Variational("lifted")):
        found = ni.invert(net, data, noise_level=level, method=method)
        assert found.converged, found.summary()
        assert found.certificate.kind == "convex gap" and found.certificate.is_global
        assert "Formulation: lifted, jointly convex." in found.message
        # Plus layers bring no two points closer: a bound of the distance to the truth that is true in every formulation.
        assert (norm(found.x - truth) <= found.residual + level + 1e-12).all()
    reduced = ni.invert(net, data, noise_level=level, method=ni.Variational("reduced"), tolerance=1e-4)
    assert reduced.certificate.kind == "stationarity" and "Formulation: reduced." in reduced.message
    assert (norm(reduced.x - truth) <= reduced.residual + level + 1e-12).all()


def test_heavy_layers_and_other_fidelities_get_no_global_certificate() -> None:
    assert problem_of(3, Tikhonov(), weight=1.3).modulus > 0
    heavy = problem_of(3, Tikhonov(), weight=1.34)
    assert heavy.modulus == 0
    assert heavy.stiffened(torch.ones(BATCH, dtype=F64)).modulus == 0
    state = BlockDescent().init(heavy, torch.zeros(BATCH, SIZE, dtype=F64))
    assert BlockDescent().step(heavy, state).optimality.shape == (BATCH,)
    counts = ni.KullbackLeibler().at(network(), heavy.inverse.data.abs())
    other = LiftedProblem.lift(replace(heavy.inverse, term=counts), network())
    assert other.modulus == 0


def test_total_variation_on_pictures() -> None:
    """The gap falls to the tolerance for a regulariser without a closed proximal map, too."""
    net = ni.lift(
        torch.nn.Sequential(torch.nn.Flatten(), PlusLayer(), torch.nn.Unflatten(1, (1, 4, 4))).double(),
        torch.zeros(2, 1, 4, 4, dtype=F64),
    )
    truth = torch.zeros(1, 1, 4, 4, dtype=F64)
    truth[:, :, 1:3, 1:] = 1
    found = ni.invert(net, net(truth).detach() + 0.01, noise_level=0.04, regulariser=TotalVariation(), constraint=Box(0.0, 1.0))
    assert found.certificate.kind == "convex gap" and found.converged


class PlusLayer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(9, 16, generator=torch.Generator().manual_seed(0)) / 4)

    def forward(self, u: Tensor) -> Tensor:
        return u + torch.tanh(u @ self.weight.T - 0.1) @ self.weight
