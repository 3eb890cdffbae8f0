"""Laws of block descent: the objective never rises, samples are separate, the inputs stay as they were."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from netinverse.lifting import LiftedEnergy
from netinverse.networks import lift, mlp
from netinverse.solvers.block_descent import BlockDescent
from netinverse.tensors import norm, total

torch.set_num_threads(1)


@dataclass(frozen=True)
class Squared:
    data: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return total((z - self.data).square()) / 2

    def gradient(self, z: Tensor) -> Tensor:
        return z - self.data


@dataclass(frozen=True)
class Ridge:
    """R(x) = alpha/2||x||^2."""

    energy: LiftedEnergy
    alpha: float = 0.1

    def regulariser_value(self, x: Tensor) -> Tensor:
        return self.alpha * total(x.square()) / 2

    def regulariser_prox(self, x: Tensor, step: float) -> Tensor:
        return x / (1 + step * self.alpha)


def test_the_objective_never_rises_and_the_limit_is_stationary() -> None:
    network = mlp((4, 12, 10, 8), dtype=torch.float64)
    truth = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        problem = Ridge(LiftedEnergy(network, Squared(network(truth))), 1e-3)
    x = torch.zeros(3, 4, dtype=torch.float64)
    state = BlockDescent().init(problem, x)
    start = state.objective
    for _ in range(2000):
        previous, state = state, BlockDescent().step(problem, state)
        assert (state.objective <= previous.objective + 1e-12).all()
    assert (state.objective < 0.02 * start).all()
    assert (state.optimality < 1e-6 * start).all()
    assert x.abs().max() == 0


def test_an_affine_network_is_solved_to_the_normal_equations() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 7).double()
    network = lift(layer, torch.zeros(1, 5, dtype=torch.float64))
    data = torch.randn(2, 7, dtype=torch.float64)
    problem = Ridge(LiftedEnergy(network, Squared(data)))
    state = BlockDescent().init(problem, torch.zeros(2, 5, dtype=torch.float64))
    for _ in range(500):
        state = BlockDescent().step(problem, state)
    with torch.no_grad():
        weight = layer.weight
        system = weight.T @ weight + 0.1 * torch.eye(5, dtype=torch.float64)
        expected = torch.linalg.solve(system, weight.T @ (data - layer.bias).T).T
    assert (norm(state.x - expected) <= 1e-9 * norm(expected)).all()


def test_smooth_nodes_are_refused() -> None:
    network = lift(nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)), torch.zeros(1, 4))
    problem = Ridge(LiftedEnergy(network, Squared(torch.zeros(1, 2))))
    with pytest.raises(ValueError, match=r"BlockDescent: the network has smooth nodes \(gelu\).*reduced formulation"):
        BlockDescent().init(problem, torch.zeros(1, 4))
