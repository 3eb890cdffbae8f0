"""The stationarity residual of an answer against one with dense derivatives, and what is done where a step does not descend."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.prox import Box
from netinverse.regularisers import Regulariser, Sparsity, Tikhonov, TotalVariation
from netinverse.solvers.stationarity import NEARBY, fidelity_gradient, measured, polish, proximal_gradient_step
from netinverse.tensors import norm
from tests.solvers.layered import BATCH, F64, layered, problem_of, zeros


def slopes(regulariser: Regulariser, x: Tensor) -> Tensor:
    return torch.zeros_like(regulariser.transform(tuple(x.shape[1:]))(x))


def dense_residual(model: nn.Module, x: Tensor, data: Tensor, alpha: float) -> Tensor:
    """D(x) for R = 1/2||x||^2, whose proximal map is a division, with Jacobian and norm by torch.func and an SVD."""
    jacobian = torch.func.vmap(torch.func.jacrev(model))(x)
    gradient = torch.einsum("bij,bi->bj", jacobian, model(x) - data)
    t = 1 / torch.linalg.matrix_norm(jacobian, 2).square()[:, None]
    v = (x - t * gradient) / (1 + t * alpha)
    gain = (gradient * (x - v)).sum(1) + 0.5 * alpha * (x.square() - v.square()).sum(1)
    return gain - ((v - x).square() / (2 * t)).sum(1)


@pytest.mark.parametrize("activation", [nn.Softplus, nn.Tanh, nn.GELU])
@pytest.mark.parametrize("seed", [0, 3, 6, 10])
def test_what_is_certified_behind_a_smooth_network_is_stationary_at_the_answer(activation: type[nn.Module], seed: int) -> None:
    """From a start whose steps of length t are too long: two units a layer, weights doubled, and 1 % is asked."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 2), activation(), nn.Linear(2, 2)).double().eval().requires_grad_(False)
        for layer in (model[0], model[2]):
            layer.weight *= 2
        data = model(torch.randn(16, 2, dtype=F64))
        data = data + 0.02 * torch.randn_like(data)
    start, alpha, tolerance = torch.full((16, 2), 2.5, dtype=F64), 1e-2, 1e-2
    result = ni.invert(
        model,
        data,
        input_shape=2,
        start=start,
        regulariser=Tikhonov(),
        rule=ni.Fixed(alpha),
        tolerance=tolerance,
        progress=False,
    )
    exact = dense_residual(model, result.x, data, alpha)
    objective = result.fidelity_value + 0.5 * alpha * result.x.square().sum(1)
    met = torch.tensor([status is ni.Status.CONVERGED for status in result.status])
    assert met.sum() >= 12
    assert (exact <= 1.01 * tolerance * objective)[met].all()


@pytest.mark.parametrize("activation", [nn.Softplus, nn.GELU])
def test_an_offset_of_the_input_certifies_no_more(activation: type[nn.Module]) -> None:
    """Inputs around 100: a hundredth of their norm is as long as the network is wide, and no gradient there is one here."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        inner = nn.Sequential(nn.Linear(3, 6), activation(), nn.Linear(6, 6)).double().eval().requires_grad_(False)
        for layer in (inner[0], inner[2]):
            layer.weight *= 2
        data = inner(torch.randn(16, 3, dtype=F64))
        data = data + 0.02 * torch.randn_like(data)
    shift = nn.Linear(3, 3).double().requires_grad_(False)
    shift.weight.copy_(torch.eye(3))
    shift.bias.fill_(-100.0)
    model, alpha, tolerance = nn.Sequential(shift, *inner).eval(), 1e-7, 1e-4
    result = ni.invert(
        model,
        data,
        input_shape=3,
        start=torch.full((16, 3), 102.5, dtype=F64),
        regulariser=Tikhonov(),
        rule=ni.Fixed(alpha),
        tolerance=tolerance,
        progress=False,
    )
    objective = result.fidelity_value + 0.5 * alpha * result.x.square().sum(1)
    met = torch.tensor([status is ni.Status.CONVERGED for status in result.status])
    assert met.sum() >= 12
    assert (dense_residual(model, result.x, data, alpha) <= 1.01 * tolerance * objective)[met].all()


@pytest.mark.parametrize("regulariser", [Tikhonov(), Sparsity(), TotalVariation()], ids=str)
def test_a_shorter_step_bounds_the_residual(regulariser: Regulariser) -> None:
    """D(x; t) <= D(x; s t)/s, and no more than what it was allowed for the inexact proximal map above the longer step's."""
    problem, x = problem_of(layered(30, 28, activation=nn.Tanh), regulariser, Box(0.0, 1.0)), zeros() + 0.4
    gradient, size = fidelity_gradient(problem, x), torch.tensor([0.5, 1.0, 2.0], dtype=F64)
    bounds = [
        proximal_gradient_step(problem, x, gradient, size, slopes(regulariser, x), 1e-8, share).residual
        for share in (1.0, 0.25, 0.01)
    ]
    for longer, shorter in pairwise(bounds):
        assert (longer <= shorter * (1 + 1e-5)).all()
    assert (bounds[0] > 0).all() and (bounds[2] > 1.001 * bounds[0]).any()


def test_behind_a_smooth_network_the_gradient_stays_that_of_the_point() -> None:
    """With steps a hundred times too long, they are shortened until they descend, and no gradient of elsewhere is taken in."""
    problem = problem_of(layered(30, 28, activation=nn.Tanh), Tikhonov(), Box(0.0, 1.0))
    x, (_, size) = zeros() + 0.4, measured(problem, zeros() + 0.4, zeros(), zeros(), 1e-6)
    end = polish(problem, x, problem.objective(x), size / 10, zeros(), tolerance=1e-6, steps=12)
    assert end.moved.all() and (end.objective < problem.objective(x)).all() and (end.share < 1).any()
    torch.testing.assert_close(end.objective, problem.objective(end.x), rtol=1e-12, atol=0)
    single = end.reach == 0
    assert single.any()
    torch.testing.assert_close(end.gradient[single], fidelity_gradient(problem, end.x)[single], rtol=1e-9, atol=1e-12)


class Ridge(nn.Module):
    """x -> (x_1, 3|x_2|): a kink along x_2 = 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0], 3 * (torch.relu(x[:, 1]) + torch.relu(-x[:, 1]))], 1)


@pytest.mark.parametrize("start", [(0.9, 0.3), (0.1, 0.7), (-1.0, -0.5)])
def test_along_a_kink_the_steps_reach_the_minimiser(start: tuple[float, float]) -> None:
    """Data below the ridge: the minimiser lies on it, where each side has a gradient that leads to the other."""
    data, alpha = torch.tensor([[1.0, -0.5]], dtype=F64), 1e-3
    result = ni.invert(
        Ridge(),
        data,
        input_shape=2,
        start=torch.tensor([start], dtype=F64),
        regulariser=Tikhonov(),
        rule=ni.Fixed(alpha),
        tolerance=1e-7,
        progress=False,
    )
    assert result.converged
    torch.testing.assert_close(result.x, torch.tensor([[1 / (1 + alpha), 0.0]], dtype=F64), rtol=0, atol=NEARBY)


def test_each_sample_is_polished_as_alone() -> None:
    problem, x = problem_of(layered(30, 28), TotalVariation(), Box(0.0, 1.0)), zeros() + 0.4
    size, slope = torch.tensor([0.5, 1.0, 2.0], dtype=F64), slopes(TotalVariation(), zeros())
    together = polish(problem, x, problem.objective(x), size, slope, tolerance=1e-8, steps=8)
    assert together.moved.any()
    for i in range(BATCH):
        index = torch.tensor([i])
        one = problem.select(index)
        alone = polish(one, x[index], one.objective(x[index]), size[index], slope[index], tolerance=1e-8, steps=8)
        assert norm(alone.x - together.x[index]) <= 1e-9
        torch.testing.assert_close(alone.residual, together.residual[index], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
def test_behind_kinks_a_strict_tolerance_is_met(activation: type[nn.Module]) -> None:
    """And the answer is where no descent is left: coordinate and random directions of a hundredth of ||x|| gain nothing more."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(20, 40), activation(), nn.Linear(40, 30), activation(), nn.Linear(30, 25))
        model = model.double().eval().requires_grad_(False)
        for layer in (model[0], model[2], model[4]):
            layer.weight *= 2
        data = model(torch.randn(8, 20, dtype=F64))
        data = data + 0.02 * torch.randn_like(data)
        directions = torch.randn(200, 20, dtype=F64)
    result = ni.invert(model, data, input_shape=20, regulariser=Tikhonov(), rule=ni.Fixed(1e-2), tolerance=1e-6, progress=False)
    assert sum(status is ni.Status.CONVERGED for status in result.status) >= 7

    def objective(x: Tensor) -> Tensor:
        return 0.5 * (model(x) - data).square().sum(-1) + 0.5e-2 * x.square().sum(-1)

    here = objective(result.x)
    steps = torch.cat([directions / norm(directions)[:, None], torch.eye(20, dtype=F64)])
    steps = torch.cat([steps, -steps])[:, None]
    for length in (1e-2, 1e-3):
        around = objective(result.x + length * norm(result.x)[:, None] * steps)
        assert (around >= here * (1 - 1e-3)).all()
