"""Iterations that relinearise: against their formula with a dense derivative, and against Clarabel and scipy where they end."""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from netinverse.problems import InverseProblem
from netinverse.prox import L1, Box, Scaled, prox_conjugate
from netinverse.regularisers import Sparsity, Tikhonov, TotalVariation
from netinverse.solvers.nonlinear_primal_dual import NonlinearPrimalDual, _stretch
from netinverse.solvers.relinearised import Relinearised, begun
from netinverse.tensors import norm, select
from tests.solvers.layered import ALPHA, BATCH, F64, SHAPE, layered, problem_of, zeros

HALF = 0.99 / 2**0.5


def after(problem: InverseProblem, x: Tensor, steps: int, solver: NonlinearPrimalDual | None = None) -> Relinearised:
    solver = NonlinearPrimalDual() if solver is None else solver
    state = begun(problem, x)
    for _ in range(steps):
        state = solver.step(problem, state)
    return state


def test_two_iterations_are_those_of_the_formula() -> None:
    """With the dense derivative of each point, R = |.|_1 and its clipped duals, and the relaxed point written out."""
    model, rho = layered(30, 28, activation=nn.Tanh), 1.8
    problem, start = problem_of(model, Sparsity(), Box(0.0, 1.0)), zeros() + 0.3
    begin = begun(problem, start)
    found = NonlinearPrimalDual(iterations_per_step=2, relaxation=rho, growth=1e9).step(problem, begin)
    front = model[:-1]
    for i in range(BATCH):
        one = problem.select(torch.tensor([i]))
        w, size = begin.primal_weight[i], begin.size[i]
        t, s, r = HALF / w, HALF * w / size**2, HALF * w
        x, q, p = start[i].flatten(), torch.zeros(28, dtype=F64), torch.zeros(25, dtype=F64)
        at = x
        z, image = front(start[i][None])[0], x
        for _ in range(2):
            jacobian = torch.func.jacrev(lambda v: front(v.reshape(1, *SHAPE))[0])(at)
            new = (x - t * (jacobian.T @ q + p)).clamp(0, 1)
            new_z = front(new.reshape(1, *SHAPE))[0]
            new_q = prox_conjugate(one.term, (q + s * (2 * new_z - z))[None], s[None])[0]
            new_p = (p + r * (2 * new - image)).clamp(-ALPHA[i], ALPHA[i])
            x, q, p = x + rho * (new - x), q + rho * (new_q - q), p + rho * (new_p - p)
            z, image, at = z + rho * (new_z - z), image + rho * (new - image), new
        torch.testing.assert_close(found.x[i].flatten(), new, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.duals[0][i], new_q, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.duals[1][i].flatten(), new_p, rtol=0, atol=1e-12)
        travelled = norm(new[None] - start[i].flatten()[None]), (size**2 * new_q.square().sum() + new_p.square().sum()).sqrt()
        torch.testing.assert_close(found.primal_weight[i], (w * travelled[1] / travelled[0][0]).sqrt(), rtol=1e-10, atol=0)


def test_the_dual_step_of_the_penalty_is_the_clip_of_the_formula() -> None:
    p = torch.linspace(-2, 2, 9, dtype=F64).reshape(1, 9)
    clipped = prox_conjugate(Scaled(L1(), torch.tensor([0.7], dtype=F64)), p, 0.3)
    torch.testing.assert_close(clipped, p.clamp(-0.7, 0.7), rtol=0, atol=1e-14)


def test_behind_one_layer_they_end_at_the_optimum_of_clarabel() -> None:
    """There the problem is convex, and the iterations are those of the primal-dual method."""
    model = layered(30)
    problem = problem_of(model, TotalVariation(), Box(0.0, 1.0))
    state = after(problem, zeros(), 60)
    weight, bias = (p.numpy() for p in model[1].parameters())
    for i in range(BATCH):
        v, data = cp.Variable((5, 5)), problem.data[i].numpy()
        z = weight @ cp.vec(v, order="C") + bias
        right, down = cp.hstack([v[:, 1:] - v[:, :-1], np.zeros((5, 1))]), cp.vstack([v[1:] - v[:-1], np.zeros((1, 5))])
        variation = cp.sum(cp.norm(cp.vstack([cp.vec(down, order="C"), cp.vec(right, order="C")]), 2, axis=0))
        fit = cp.sum_squares(cp.pos(z)) / 2 - data @ z + float(data @ data) / 2
        program = cp.Problem(cp.Minimize(fit + ALPHA[i].item() * variation), [v >= 0, v <= 1])
        program.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        assert state.objective[i].item() == pytest.approx(program.value, rel=1e-6)


def test_behind_two_smooth_layers_scipy_finds_the_same_minimiser() -> None:
    model = layered(30, 28, activation=nn.Tanh, last=nn.Tanh)
    problem = problem_of(model, Tikhonov(), squared=True)
    state = after(problem, zeros(), 60)

    def value(v: np.ndarray, i: int) -> tuple[float, np.ndarray]:
        x = torch.as_tensor(v).reshape(1, *SHAPE).requires_grad_(True)
        total = (model(x) - problem.data[i]).square().sum() / 2 + ALPHA[i] * x.square().sum() / 2
        total.backward()
        assert x.grad is not None
        return total.item(), x.grad.flatten().numpy()

    for i in range(BATCH):
        options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000}
        least = minimize(value, np.zeros(25), args=(i,), jac=True, method="L-BFGS-B", options=options)
        assert state.objective[i].item() == pytest.approx(least.fun, rel=1e-7)
        np.testing.assert_allclose(state.x[i].flatten().numpy(), least.x, atol=1e-4)


def test_a_step_that_raises_the_objective_too_far_is_not_taken() -> None:
    """A norm that is far too small sends sample 1 away; it stalls where it was, and its neighbours go on."""
    problem, solver = problem_of(layered(30, 28), TotalVariation()), NonlinearPrimalDual(iterations_per_step=5)
    begin = begun(problem, zeros() + 0.3)
    wild = replace(begin, size=begin.size * torch.tensor([1.0, 1e-4, 1.0], dtype=F64))
    state, calm = solver.step(problem, wild), solver.step(problem, begin)
    assert state.stalled.tolist() == [False, True, False] and not calm.stalled.any()
    assert torch.equal(state.x[1], begin.x[1]) and state.objective[1] == begin.objective[1]
    assert torch.equal(state.x[0], calm.x[0]) and torch.equal(state.x[2], calm.x[2])


def test_a_sample_alone_is_the_sample_in_the_batch() -> None:
    problem = problem_of(layered(30, 28), TotalVariation(), Box(0.0, 1.0))
    together = after(problem, zeros() + 0.2, 3)
    for i in range(BATCH):
        alone = after(problem.select(torch.tensor([i])), zeros(1) + 0.2, 3)
        assert (alone.x[0] - together.x[i]).abs().max() <= 1e-9
        assert (select(together, torch.tensor([i])).duals[1] - alone.duals[1]).abs().max() <= 1e-9


def test_the_size_follows_what_the_network_has_done() -> None:
    """Never below what it was, and at least |z(x+) - z(x)|/|x+ - x| from where the step began to where it ended."""
    problem = problem_of(layered(30, 28), TotalVariation(), Box(0.0, 1.0))
    begin = begun(problem, zeros() + 0.2)
    low = replace(begin, size=begin.size / 100)
    state = NonlinearPrimalDual(growth=1e300, iterations_per_step=2).step(problem, low)
    moved = norm(problem.variable(state.x) - problem.variable(low.x)) / norm(state.x - low.x)
    torch.testing.assert_close(state.size, torch.maximum(low.size, moved), rtol=1e-12, atol=0)
    assert (state.size > low.size).all()
    same = NonlinearPrimalDual(iterations_per_step=2).step(problem, replace(begin, size=begin.size * 100))
    assert torch.equal(same.size, begin.size * 100)


def test_the_norm_grows_with_what_z_is_seen_to_stretch_and_the_weight_is_balanced_in_that_of_before() -> None:
    """From a point where few units are alive to one where more are, |dz|/|dx| is above the norm where the step began."""
    problem = problem_of(layered(30, 28, last=None), Tikhonov(), squared=True)
    begin = begun(problem, zeros() - 3.0)
    after_ = NonlinearPrimalDual(growth=1e9).step(problem, begin)
    dx, dz = after_.x - begin.x, problem.variable(after_.x) - problem.variable(begin.x)
    stretch = norm(dz) / norm(dx)
    assert (stretch > begin.size).any()
    torch.testing.assert_close(after_.size, torch.maximum(begin.size, stretch), rtol=1e-9, atol=0)
    dual = ((begin.size * norm(after_.duals[0])).square() + norm(after_.duals[1]).square()).sqrt()
    torch.testing.assert_close(after_.primal_weight, (begin.primal_weight * dual / norm(dx)).sqrt(), rtol=1e-9, atol=0)


def test_a_stretch_is_not_read_off_rounding() -> None:
    x = torch.ones(2, 9, dtype=F64)
    dx = torch.tensor([[1e-12], [1e-3]], dtype=F64).expand(2, 9)
    torch.testing.assert_close(_stretch(dx, 5 * torch.full((2, 9), 1e-3, dtype=F64), x), torch.tensor([0.0, 5.0], dtype=F64))


def test_where_the_network_does_not_react_the_weight_is_left_as_it_is() -> None:
    """A dead network has ||z'|| = 0, and a primal weight of zero would be a step of infinite length."""
    model = layered(30, 28)
    model[1].bias.fill_(-1e3)
    problem = problem_of(model, Tikhonov())
    begin = begun(problem, zeros() + 0.3)
    assert (begin.size == 0).all() and (begin.primal_weight > 0).all()
    assert torch.isfinite(NonlinearPrimalDual().step(problem, begin).x).all()
