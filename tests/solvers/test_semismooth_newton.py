"""Tikhonov regularisation behind one dense layer against closed forms, SciPy and the primal-dual method, over ten decades."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

import netinverse as ni
from netinverse.fidelities import BregmanTerm
from netinverse.operators.linear import Identity
from netinverse.operators.matrix import Matrix
from netinverse.problems import CompositeProblem, Term
from netinverse.prox import L1, Box, Scaled, SquaredNorm
from netinverse.solvers.iterate import relative_optimality, solve
from netinverse.solvers.primal_dual import PrimalDual
from netinverse.solvers.semismooth_newton import SemismoothNewton

F64 = torch.float64
ACTIVATIONS = {"identity": "identity", "relu": "relu", "tanh": "tanh", "softplus": "softplus", "hardtanh": "hardtanh"}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def problem(activation: str, rows: int, columns: int, alpha: Tensor) -> CompositeProblem:
    potential = ni.potential_of(activation)
    weight, batch = drawn(rows, columns, seed=1), len(alpha)
    offset = 0.3 * drawn(batch, rows, seed=2)
    data = potential.project(
        potential.prox(drawn(batch, columns, seed=3) @ weight.T + offset) + 0.05 * drawn(batch, rows, seed=4)
    )
    ones = torch.ones_like(alpha)
    layer = Term(BregmanTerm(potential, data), Matrix(weight, (rows,), (columns,)), 20 * ones, offset)
    return CompositeProblem((layer, Term(Scaled(SquaredNorm(), alpha), Identity(), ones)), None)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize(("rows", "columns"), [(9, 5), (5, 9)])
def test_the_minimiser_of_scipy_is_reached_in_a_few_steps(activation: str, rows: int, columns: int) -> None:
    alpha = torch.tensor([1e-6, 1e-3, 1.0, 1e4], dtype=F64)
    posed = problem(activation, rows, columns, alpha)
    method = SemismoothNewton()
    assert method.suits(posed)
    found = solve(
        method, posed, method.init(posed, torch.zeros(4, columns, dtype=F64)), stop=relative_optimality(1e-12), max_steps=40
    )
    assert (found.codes == 0).all()
    layer = posed.terms[0]
    for i in range(4):

        def objective(v: np.ndarray, i: int = i) -> tuple[float, np.ndarray]:
            x = torch.as_tensor(v).expand(4, -1)
            z = layer.shifted(layer.image(x))
            gradient = layer.map.adjoint(layer.function.gradient(z))[i] + alpha[i] * x[i]  # type: ignore[attr-defined]
            return float(layer.function(z)[i] + 0.5 * alpha[i] * x[i].square().sum()), gradient.numpy()

        ours, slope = objective(found.state.x[i].numpy())
        theirs = minimize(
            objective, np.zeros(columns), jac=True, method="L-BFGS-B", options={"maxiter": 20000, "ftol": 0, "gtol": 1e-13}
        )
        assert ours <= theirs.fun * (1 + 1e-12) + 1e-14
        # The gap bounds the excess: strong convexity gives the excess from the gradient.
        assert float(found.state.optimality[i]) <= 1e-12 * ours + 1e-300
        assert np.linalg.norm(slope) ** 2 / (2 * float(alpha[i])) <= 1e-9 * ours + 1e-20


def test_a_linear_layer_takes_one_step_to_the_normal_equations() -> None:
    alpha = torch.tensor([0.1, 10.0], dtype=F64)
    posed = problem("identity", 6, 4, alpha)
    method = SemismoothNewton()
    x = method.step(posed, method.init(posed, drawn(2, 4, seed=8))).x
    layer = posed.terms[0]
    weight = layer.map.weight  # type: ignore[attr-defined]
    right = (layer.function.data - layer.offset) @ weight  # type: ignore[attr-defined]
    for i in range(2):
        exact = torch.linalg.solve(weight.T @ weight + alpha[i] * torch.eye(4, dtype=F64), right[i])
        torch.testing.assert_close(x[i], exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "hardtanh"])
def test_the_objective_never_rises_where_the_full_step_goes_too_far(activation: str) -> None:
    """From where all entries are saturated the model is alpha/2||x||^2 and a slope: its minimiser is far on the other side."""
    alpha, columns = torch.tensor([1e-3, 0.1, 1.0], dtype=F64), 5
    posed, method = problem(activation, 9, columns, alpha), SemismoothNewton()
    state = method.init(posed, 30 * drawn(3, columns, seed=9))
    z = posed.terms[0].shifted(posed.terms[0].image(state.x))
    gradient = -state.best.duals[1] + alpha[:, None] * state.x
    slopes = posed.terms[0].function.second(z)  # type: ignore[attr-defined]
    weight = posed.terms[0].map.weight  # type: ignore[attr-defined]
    hessian = weight.T @ (slopes[:, :, None] * weight) + alpha[:, None, None] * torch.eye(columns, dtype=F64)
    full = state.x - torch.linalg.solve(hessian, gradient)
    assert (method.init(posed, full).objective > state.objective).any()
    for _ in range(12):
        before, state = state.objective, method.step(posed, state)
        assert (state.objective <= before * (1 + 1e-14)).all()


def test_it_agrees_with_the_primal_dual_method_and_samples_are_independent() -> None:
    posed = problem("relu", 8, 6, torch.tensor([0.3, 0.05], dtype=F64))
    found = []
    for method in (SemismoothNewton(), PrimalDual()):
        begun = method.init(posed, torch.zeros(2, 6, dtype=F64))
        found.append(solve(method, posed, begun, stop=relative_optimality(1e-10), max_steps=400).state)
    torch.testing.assert_close(found[0].objective, found[1].objective, rtol=1e-9, atol=0)
    torch.testing.assert_close(found[0].x, found[1].x, rtol=0, atol=1e-4)


def test_invert_takes_it_where_it_suits_and_only_there() -> None:
    network = nn.Sequential(nn.Linear(6, 30, dtype=F64), nn.ReLU()).eval()
    with torch.no_grad():
        for k, p in enumerate(network.parameters()):
            p.copy_(drawn(*p.shape, seed=k))
    truth = drawn(5, 6, seed=7)
    data, level = ni.add_noise(network(truth).detach(), relative=torch.logspace(-3, -1, 5, dtype=F64))
    result = ni.invert(network, data, input_shape=(6,), noise_level=level, rule=ni.APriori(), tolerance=1e-10)
    assert result.converged and result.certificate.kind == "duality gap" and int(result.steps.max()) < 40
    boxed = ni.invert(network, data, input_shape=(6,), rule=ni.Fixed(0.1), constraint=Box(-1, 1), tolerance=1e-6)
    assert boxed.converged and (boxed.x.abs() <= 1).all()
    alone = ni.invert(network, data[2:3], input_shape=(6,), noise_level=level[2:3], rule=ni.APriori(), tolerance=1e-10)
    torch.testing.assert_close(alone.x[0], result.x[2], rtol=0, atol=1e-9)


def test_what_it_does_not_suit() -> None:
    posed = problem("relu", 5, 4, torch.ones(1, dtype=F64))
    layer, penalty = posed.terms
    method = SemismoothNewton()
    assert not method.suits(CompositeProblem((layer, penalty), Box()))
    assert not method.suits(CompositeProblem((layer, Term(Scaled(L1(), 1.0), Identity(), penalty.norm)), None))
    assert not method.suits(CompositeProblem((layer, Term(Scaled(SquaredNorm(), 0.0), Identity(), penalty.norm)), None))
    softmax = Term(BregmanTerm(ni.potential_of("softmax"), torch.ones(1, 5, dtype=F64) / 5), layer.map, layer.norm)
    assert not method.suits(CompositeProblem((softmax, penalty), None))
