"""What holds for every lifted network, whatever model it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.lifting import INPUT, LiftedEnergy
from netinverse.networks import LiftedNetwork
from netinverse.protocols import Potential
from netinverse.tensors import inner, norm

WEIGHT = 0.7


@dataclass(frozen=True)
class Bregman:
    """B(data, z) for the potential of the last activation."""

    potential: Potential
    data: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return self.potential.penalty(self.data, z)

    def gradient(self, z: Tensor) -> Tensor:
        return self.potential.prox(z) - self.data


def random_like(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def some_blocks(energy: LiftedEnergy) -> list[int]:
    """The first, the last and a few in between."""
    count = len(energy.blocks)
    return sorted({0, count // 4, count // 2, 3 * count // 4, count - 1}) if count else []


def moved(potential: Potential | None, u: Tensor) -> Tensor:
    """A point of the domain away from u, (batch, ...); half-way to its boundary at most."""
    noise = random_like(*u.shape, seed=7).abs() + 0.1
    if potential is None:
        return u + noise
    up, down = ((u + potential.project(u + sign * noise)) / 2 for sign in (1, -1))
    rises = (norm(up - u) >= norm(down - u)).reshape(-1, *[1] * (u.ndim - 1))
    return torch.where(rises, up, down)


def setting(network: LiftedNetwork) -> tuple[LiftedEnergy, Tensor, tuple[Tensor, ...]]:
    """The energy with the network's own output as data, an input, and the activations there."""
    x = random_like(2, *network.input_shape)
    energy = LiftedEnergy(network, Bregman(network.output_potential, network(x)), WEIGHT)
    return energy, x, energy.activations(x)


def affine_nodes_have_exact_adjoints(network: LiftedNetwork) -> None:
    """<A u, y> = <u, A* y>, and A is what is left of the node without its value at zero."""
    for node in network.nodes:
        if node.kind != "affine":
            continue
        inputs = tuple(random_like(2, *shape, seed=i) for i, shape in enumerate(node.input_shapes))
        zeros = tuple(torch.zeros_like(u) for u in inputs)
        y = random_like(2, *node.shape, seed=9)
        with torch.no_grad():
            linear, value, offset = node.linear(*inputs), node(*inputs), node(*zeros)
        assert linear.shape == value.shape == (2, *node.shape)
        right = torch.stack([inner(u, g) for u, g in zip(inputs, node.adjoint(y), strict=True)]).sum(0)
        size = sum(map(norm, inputs)) + norm(linear)
        assert ((inner(linear, y) - right).abs() <= 1e-12 * size * norm(y)).all(), node.name
        assert (norm(value - offset - linear) <= 1e-12 * (norm(value) + norm(offset) + norm(linear))).all(), node.name


def energy_is_zero_at_the_forward_pass_alone(network: LiftedNetwork) -> None:
    """Zero in units of sum_l 1/2||u_l||^2, output included; elsewhere at least lambda/2 ||u - sigma(z)||^2, since B is."""
    energy, x, us = setting(network)
    with torch.no_grad():
        scale = torch.stack([inner(u, u) / 2 for u in (*us, network(x))]).sum(0)
        assert (energy.value(x, us).abs() <= 1e-12 * scale).all()
        for block in some_blocks(energy):
            u = moved(energy.blocks[block].potential, us[block])
            least = WEIGHT * inner(u - us[block], u - us[block]) / 2
            assert (least > 0).all()
            value = energy.value(x, (*us[:block], u, *us[block + 1 :]))
            assert (value >= least * (1 - 1e-9)).all(), energy.blocks[block].name


def block_gradients_are_central_differences(network: LiftedNetwork) -> None:
    """Along a segment inside the domain, of the energy without what prox treats, lambda (1/2||u||^2 + Psi(u))."""
    energy, x, us = setting(network)
    t = 1e-4
    with torch.no_grad():
        # Away from the forward pass, where the gradients vanish.
        away = [moved(None, x), *(moved(node.potential, u) for node, u in zip(energy.blocks, us, strict=True))]
        for block in (INPUT, *some_blocks(energy)):
            start = away[block + 1]
            direction = moved(None if block == INPUT else energy.blocks[block].potential, start) - start
            direction = direction / norm(direction).reshape(-1, *[1] * (direction.ndim - 1))
            behind, middle, ahead = (
                [start + s * direction if i == block + 1 else v for i, v in enumerate(away)] for s in (0, t, 2 * t)
            )
            found = (_differentiable(energy, block, ahead) - _differentiable(energy, block, behind)) / (2 * t)
            gradient = energy.gradient(block, middle[0], middle[1:])
            assert ((found - inner(gradient, direction)).abs() <= 1e-7 * norm(gradient)).all(), block


def _differentiable(energy: LiftedEnergy, block: int, point: Sequence[Tensor]) -> Tensor:
    value = energy.value(point[0], point[1:])
    if block == INPUT:
        return value
    u, potential = point[block + 1], energy.blocks[block].potential
    treated = inner(u, u) / 2
    return value - WEIGHT * (treated if potential is None else treated + potential(u))
