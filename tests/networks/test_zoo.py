"""Laws of lifting on published architectures: the same function, the same parameters, exact adjoints, a lifted energy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from netinverse.lifting import INPUT, LiftedEnergy
from netinverse.networks import LiftedNetwork, lift
from netinverse.protocols import Potential
from netinverse.tensors import inner, norm
from tests.networks.zoo import ZOO

torch.set_num_threads(1)

EVERY = [pytest.param(name, marks=pytest.mark.slow) if ZOO[name].is_deep else name for name in ZOO]
WEIGHT = 0.7
QUICK_IN_FLOAT32 = {"VGG-11-BN", "AlexNet", "Inception-v3", "ShuffleNetV2, short", "autoencoder", "ViT"}
EVERY_FLOAT32 = [name if name in QUICK_IN_FLOAT32 else pytest.param(name, marks=pytest.mark.slow) for name in ZOO]


@cache
def lifted(name: str, dtype: torch.dtype) -> tuple[nn.Module, LiftedNetwork]:
    model = ZOO[name].model(dtype)
    return model, lift(model, torch.zeros(1, *ZOO[name].input_shape, dtype=dtype))


def random_like(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@dataclass(frozen=True)
class Bregman:
    potential: Potential
    data: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return self.potential.penalty(self.data, z)

    def gradient(self, z: Tensor) -> Tensor:
        return self.potential.prox(z) - self.data


def setting(name: str) -> tuple[LiftedEnergy, Tensor, tuple[Tensor, ...]]:
    """The energy with the network's own output as data, an input, and the activations there."""
    network = lifted(name, torch.float64)[1]
    x = random_like(2, *network.input_shape)
    energy = LiftedEnergy(network, Bregman(network.output_potential, network(x)), WEIGHT)
    return energy, x, energy.activations(x)


def some_blocks(energy: LiftedEnergy) -> list[int]:
    """The first, the last and a few in between."""
    count = len(energy.blocks)
    return sorted({0, count // 4, count // 2, 3 * count // 4, count - 1})


def moved(potential: Potential | None, u: Tensor) -> Tensor:
    """A point of the domain away from u."""
    far = u + random_like(*u.shape, seed=7)
    return far if potential is None else (u + potential.project(far)) / 2


def outputs_agree(name: str, dtype: torch.dtype, tolerance: float) -> None:
    model, network = lifted(name, dtype)
    with torch.no_grad():
        for batch in (1, 3):
            x = random_like(batch, *ZOO[name].input_shape, dtype=dtype, seed=batch)
            expected, found = model(x), network(x)
            assert found.dtype == dtype and found.shape == expected.shape
            assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", EVERY)
def test_the_output_is_that_of_the_model(name: str) -> None:
    outputs_agree(name, torch.float64, 1e-12)


@pytest.mark.parametrize("name", EVERY_FLOAT32)
def test_the_output_is_that_of_the_model_in_float32(name: str) -> None:
    outputs_agree(name, torch.float32, 1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_parameters_are_shared_and_nothing_is_copied(name: str) -> None:
    model, network = lifted(name, torch.float64)
    of_model = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    of_network = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    assert {id(p) for p in network.parameters()} == {id(p) for p in model.parameters()}
    own = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in (*network.parameters(), *network.buffers())}
    assert sum(own[pointer] for pointer in of_network - of_model) <= 256  # a few numbers, such as bounds and indices


@pytest.mark.parametrize("name", EVERY)
def test_a_change_of_the_model_is_a_change_of_the_network(name: str) -> None:
    model, network = lifted(name, torch.float64)
    x = random_like(1, *ZOO[name].input_shape)
    with torch.no_grad():
        before, kept = network(x), [p.clone() for p in model.parameters()]
        for parameter in model.parameters():
            parameter.mul_(0.9)
        expected, found = model(x), network(x)
        for parameter, old in zip(model.parameters(), kept, strict=True):
            parameter.copy_(old)
        assert (expected - before).abs().max() > 1e-3 * before.abs().max()
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
        assert network(x).equal(before)


@pytest.mark.parametrize("name", EVERY)
def test_affine_nodes_have_exact_adjoints(name: str) -> None:
    network = lifted(name, torch.float64)[1]
    affine = [node for node in network.nodes if node.kind == "affine"]
    assert affine
    for node in affine:
        inputs = tuple(random_like(2, *shape, seed=i) for i, shape in enumerate(node.input_shapes))
        zeros = tuple(torch.zeros_like(u) for u in inputs)
        y = random_like(2, *node.shape, seed=9)
        with torch.no_grad():
            linear, value, offset = node.linear(*inputs), node(*inputs), node(*zeros)
        adjoint = node.adjoint(y)
        left = inner(linear, y)
        right = torch.stack([inner(u, g) for u, g in zip(inputs, adjoint, strict=True)]).sum(0)
        assert ((left - right).abs() <= 1e-12 * norm(linear) * norm(y)).all(), node.name
        assert (norm(value - offset - linear) <= 1e-12 * (norm(value) + norm(offset))).all(), node.name


@pytest.mark.parametrize("name", EVERY)
def test_the_energy_is_zero_at_the_forward_pass_and_positive_elsewhere(name: str) -> None:
    """In units of the energy of the activations themselves, sum of lambda/2 ||u_l||^2. B(u, z) >= 1/2||u - sigma(z)||^2."""
    energy, x, us = setting(name)
    with torch.no_grad():
        scale = torch.stack([WEIGHT * inner(u, u) / 2 for u in us]).sum(0)
        assert (energy.value(x, us).abs() <= 1e-12 * scale).all()
        for block in some_blocks(energy):
            u = moved(energy.blocks[block].potential, us[block])
            least = WEIGHT * inner(u - us[block], u - us[block]) / 2
            assert (least > 0).all()
            value = energy.value(x, (*us[:block], u, *us[block + 1 :]))
            assert (value >= least * (1 - 1e-9)).all(), energy.blocks[block].name


@pytest.mark.parametrize("name", EVERY)
def test_block_gradients_are_central_differences(name: str) -> None:
    """Along a segment inside the domain, of the energy without what prox treats, lambda (1/2||u||^2 + Psi(u))."""
    energy, x, us = setting(name)
    t = 1e-4
    with torch.no_grad():
        # Away from the forward pass, where the gradients vanish.
        away = [moved(None, x), *(moved(node.potential, u) for node, u in zip(energy.blocks, us, strict=True))]
        for block in (INPUT, *some_blocks(energy)):
            potential = None if block == INPUT else energy.blocks[block].potential
            start = away[block + 1]
            direction = moved(potential, start) - start
            direction = direction / norm(direction).reshape(-1, *[1] * (direction.ndim - 1))
            behind, middle, ahead = (
                [start + s * direction if i == block + 1 else v for i, v in enumerate(away)] for s in (0, t, 2 * t)
            )
            found = (differentiable(energy, block, ahead) - differentiable(energy, block, behind)) / (2 * t)
            gradient = energy.gradient(block, middle[0], middle[1:])
            assert ((found - inner(gradient, direction)).abs() <= 1e-7 * norm(gradient)).all(), block


def differentiable(energy: LiftedEnergy, block: int, point: list[Tensor]) -> Tensor:
    value = energy.value(point[0], point[1:])
    if block == INPUT:
        return value
    u, potential = point[block + 1], energy.blocks[block].potential
    treated = inner(u, u) / 2
    return value - WEIGHT * (treated if potential is None else treated + potential(u))


@pytest.mark.parametrize("name", EVERY)
def test_what_can_be_lifted_exactly_is(name: str) -> None:
    network = lifted(name, torch.float64)[1]
    smooth = [node.name for node in network.nodes if node.kind == "smooth"]
    assert network.is_exactly_lifted == ZOO[name].is_exactly_liftable, smooth
    table = network.summary()
    assert all(node in table for node in smooth)
    assert {operator for operator in ZOO[name].smooth if any(operator in node for node in smooth)} == ZOO[name].smooth
    assert all(any(operator in node for operator in ZOO[name].smooth) for node in smooth)
