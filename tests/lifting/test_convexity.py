"""The condition that makes a lifted energy jointly convex: against eigenvalues of the assembled quadratic forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from netinverse.fidelities import SquaredFidelity
from netinverse.lifting import LiftedEnergy, input_modulus, plus_layers
from netinverse.lifting.convexity import form_with_states, least_rho, least_weight
from netinverse.networks import LiftedNetwork, lift, mlp, monotone_residual_network

F64 = torch.float64


class Layers(nn.Module):
    """u + sign_k W_k^T relu(W_k u + b_k), k = 1, 2, ..., each with its own sign and its own transpose."""

    def __init__(self, signs: tuple[float, ...], off: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        draws = [torch.randn(4, 3, generator=generator, dtype=F64) for _ in signs]
        self.signs, self.off = signs, off
        self.weights = nn.ParameterList([nn.Parameter(w) for w in draws])

    def forward(self, u: Tensor) -> Tensor:
        for sign, w in zip(self.signs, self.weights, strict=True):
            u = u + sign * nn.functional.linear(torch.relu(nn.functional.linear(u, w) + 0.1), (w + self.off).T)
        return u


def energy_of(network: LiftedNetwork, weight: float) -> LiftedEnergy:
    data = torch.zeros(1, *network.nodes[-1].shape, dtype=F64)
    return LiftedEnergy(network, SquaredFidelity().at(network, data), weight)


def lifted(model: nn.Module) -> LiftedNetwork:
    return lift(model.eval(), torch.zeros(2, 3, dtype=F64))


def quadratic_part(energy: LiftedEnergy, weight: float) -> Tensor:
    """The Hessian in (x, u) of the energy without its Phi, which may be flat: 1/2||z_out||^2 + lambda sum 1/2||u||^2 - <u, z>."""
    sizes = [math.prod(energy.network.input_shape), *(math.prod(node.shape) for node in energy.blocks)]

    def value(w: Tensor) -> Tensor:
        x, *us = torch.split(w[None], sizes, 1)
        values = energy.affine_values(x, us)
        value = values[energy.output].square().sum() / 2
        for node, u in zip(energy.blocks, us, strict=True):
            value = value + weight * (u.square().sum() / 2 - (u * values[node.inputs[0]]).sum())
        return value

    return torch.autograd.functional.hessian(value, torch.zeros(sum(sizes), dtype=F64))


@pytest.mark.parametrize("layers, width", [(1, 3), (2, 5), (6, 2)])
def test_chains_of_plus_layers_are_known_whatever_their_weights(layers: int, width: int) -> None:
    assert plus_layers(energy_of(monotone_residual_network(3, layers, width, dtype=F64), 1.0)) == layers
    assert plus_layers(energy_of(lifted(Layers((1.0,) * layers)), 1.0)) == layers


@pytest.mark.parametrize(
    "network",
    [
        lifted(Layers((-1.0,))),
        lifted(Layers((1.0, -1.0, 1.0))),
        lifted(Layers((1.0, 1.0), off=1e-9)),
        lifted(nn.Sequential(Layers((1.0,)), nn.ReLU())),
        lifted(nn.Sequential(Layers((1.0,)), nn.Linear(3, 3, dtype=F64))),
        mlp((3, 5, 3), dtype=F64),
        lifted(nn.Sequential(nn.Linear(3, 3, dtype=F64), nn.GELU(), nn.Linear(3, 3, dtype=F64))),
    ],
    ids=["minus", "one minus", "not quite the transpose", "relu at the end", "affine at the end", "mlp", "smooth"],
)
def test_other_networks_are_not(network: LiftedNetwork) -> None:
    data = torch.zeros(1, 3, dtype=F64)
    assert plus_layers(LiftedEnergy(network, SquaredFidelity().at(network, data), 1.0)) is None


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize("weight", [0.5, 1.0, 1.1])
def test_the_modulus_against_eigenvalues(layers: int, weight: float) -> None:
    """What is left is convex for every chain; for one whose layers are all the same large isometry no larger modulus will do."""
    m = input_modulus(layers, weight)
    generator = torch.Generator().manual_seed(1)
    for scale in (0.3, 1.0, 30.0):
        model = Layers((1.0,) * layers)
        for w in model.weights:
            w.data = scale * torch.randn(4, 3, generator=generator, dtype=F64)
        energy = energy_of(lifted(model), weight)
        left = quadratic_part(energy, weight) - weight * torch.eye(3 + 4 * layers, dtype=F64)
        left[:3, :3] += (weight - m) * torch.eye(3, dtype=F64)
        assert torch.linalg.eigvalsh(left)[0] >= -1e-10 * max(scale**2, 1)
        if m == 0:
            assert weight >= (layers + 1) / layers
    isometry = Layers((1.0,) * layers)
    for w in isometry.weights:
        w.data = torch.eye(4, 3, dtype=F64)
    left = quadratic_part(energy_of(lifted(isometry), weight), weight) - weight * torch.eye(3 + 4 * layers, dtype=F64)
    left[:3, :3] += (weight - m - 1e-3) * torch.eye(3, dtype=F64)
    assert torch.linalg.eigvalsh(left)[0] < -1e-6


@pytest.mark.parametrize("layers", [1, 2, 7, 20])
def test_the_form_with_states_is_positive_from_the_least_rho_and_the_least_weight_on(layers: int) -> None:
    rho, weight = least_rho(layers), least_weight(layers)
    assert float(torch.linalg.eigvalsh(form_with_states(layers, 1.0, rho))[0]) == pytest.approx(0, abs=1e-12)
    assert torch.linalg.eigvalsh(form_with_states(layers, 1.0, 0.999 * rho))[0] < 0
    assert float(torch.linalg.eigvalsh(form_with_states(layers, weight))[0]) == pytest.approx(0, abs=1e-12)
    assert torch.linalg.eigvalsh(form_with_states(layers, 0.999 * weight))[0] < 0
    assert input_modulus(layers, 0.999 / weight) > 0 and input_modulus(layers, 1.001 / weight) == 0
