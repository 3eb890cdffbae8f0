"""Laws of the lifted energy: zero at the forward pass, positive elsewhere, exact gradients, a fall in every block step."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from netinverse.lifting import INPUT, LiftedEnergy
from netinverse.networks import lift, mlp
from netinverse.protocols import Potential
from netinverse.tensors import inner

torch.set_num_threads(1)


@dataclass(frozen=True)
class Bregman:
    potential: Potential
    data: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return self.potential.penalty(self.data, z)

    def gradient(self, z: Tensor) -> Tensor:
        return self.potential.prox(z) - self.data


class Skips(nn.Module):
    """Each activation has several children."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        u = torch.relu(self.a(x))
        v = u + torch.relu(self.b(u))
        w = torch.relu(self.b(v) - u)
        return torch.relu(self.c(torch.cat([v, w], 1)))


class Gates(nn.Module):
    """Smooth nodes of several activations, of another smooth node, and with a batch that is not first inside."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        u = torch.relu(self.a(x))
        v = functional.gelu(u * torch.relu(self.b(u)))
        w = (v.transpose(0, 1) * u.transpose(0, 1).sum(0)).transpose(0, 1)
        return torch.relu(self.c(functional.gelu(v) + w))


NETWORKS = {
    "gates": lambda: lift(Gates().double(), torch.zeros(1, 5).double()),
    "layers": lambda: mlp((5, 8, 7, 4), dtype=torch.float64),
    "one layer": lambda: lift(nn.Sequential(nn.Linear(5, 4), nn.ReLU()).double(), torch.zeros(1, 5).double()),
    "skips": lambda: lift(Skips().double(), torch.zeros(1, 5).double()),
    "smooth": lambda: lift(
        nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 4), nn.ReLU()).double(), torch.zeros(1, 5).double()
    ),
}


def setting(name: str) -> tuple[LiftedEnergy, Tensor, tuple[Tensor, ...]]:
    """An energy, a point and blocks inside their domains but away from the forward pass."""
    torch.manual_seed(3)
    network = NETWORKS[name]()
    x = torch.randn(3, 5, dtype=torch.float64)
    with torch.no_grad():
        data = network(torch.randn(3, 5, dtype=torch.float64))
        energy = LiftedEnergy(network, Bregman(network.output_potential, data), 0.7)
        us = tuple(u + torch.rand_like(u) + 0.1 for u in energy.activations(x))
    return energy, x, us


@pytest.mark.parametrize("name", NETWORKS)
def test_zero_at_the_forward_pass_and_positive_elsewhere(name: str) -> None:
    energy, x, us = setting(name)
    network = energy.network
    with torch.no_grad():
        exact = LiftedEnergy(network, Bregman(network.output_potential, network(x)), 0.7)
        assert exact.value(x, exact.activations(x)).abs().max() <= 1e-12
        for block in range(len(us)):
            moved = list(exact.activations(x))
            moved[block] = us[block]
            assert (exact.value(x, moved) > 1e-4).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_against_central_differences(name: str) -> None:
    """The energy minus the part that prox treats, 1/2||u||^2 + Psi(u) with Psi = 0 inside the domain, is differentiable."""
    energy, x, us = setting(name)
    with torch.no_grad():
        for block in range(INPUT, len(us)):
            point = (x, *us)
            gradient = energy.gradient(block, x, us)
            direction = torch.randn_like(gradient)

            def smooth(t: float, block: int = block, direction: Tensor = direction, point: tuple[Tensor, ...] = point) -> Tensor:
                moved = [p + t * direction if i == block + 1 else p for i, p in enumerate(point)]
                treated = 0.0 if block == INPUT else 0.7 * inner(moved[block + 1], moved[block + 1]) / 2
                return energy.value(moved[0], moved[1:]) - treated

            t = 1e-6
            assert torch.allclose((smooth(t) - smooth(-t)) / (2 * t), inner(gradient, direction), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_gradients_at_one_point_are_those_of_the_blocks(name: str) -> None:
    energy, x, us = setting(name)
    found = energy.gradients(x, us)
    for block, whole in zip(range(INPUT, len(us)), (found[0], *found[1]), strict=True):
        assert torch.allclose(whole, energy.gradient(block, x, us), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["layers", "one layer", "skips"])
def test_the_energy_falls_in_every_block_step(name: str) -> None:
    energy, x, us = setting(name)
    with torch.no_grad():
        blocks = list(us)
        start = energy.value(x, blocks)
        before = start
        for _ in range(30):
            for block in [*reversed(range(len(blocks))), INPUT]:
                step = energy.step_size(block)
                gradient = energy.gradient(block, x, blocks)
                if block == INPUT:
                    x = x - step * gradient
                else:
                    blocks[block] = energy.prox(block, blocks[block] - step * gradient, step)
                after = energy.value(x, blocks)
                assert (after <= before + 1e-12).all()
                before = after
        assert (before < 0.2 * start).all()


def test_block_prox_is_the_minimiser() -> None:
    """Against a lattice, with the kink of the domain in it."""
    energy, _, _ = setting("layers")
    lattice = torch.linspace(0, 4, 400_001, dtype=torch.float64)
    for v in (-1.0, 0.0, 0.4, 2.5):
        for step in (0.1, 3.0):
            found = energy.prox(0, torch.full((1, 1), v, dtype=torch.float64), step)
            best = lattice[(step * 0.7 * lattice**2 / 2 + (lattice - v) ** 2 / 2).argmin()]
            assert abs(found.item() - best) <= 1e-5


def test_step_sizes_are_safe_against_the_exact_curvature() -> None:
    energy, x, us = setting("skips")
    with torch.no_grad():
        for block in range(INPUT, len(us)):
            length = (x if block == INPUT else us[block])[0].numel()
            # The gradient at a far point against that at the same point moved: the ratio never exceeds 1/step.
            for seed in range(20):
                generator = torch.Generator().manual_seed(seed)
                point = [x, *us]
                moved = [p.clone() for p in point]
                moved[block + 1] = point[block + 1] + torch.randn(3, length, generator=generator, dtype=torch.float64)
                change = energy.gradient(block, moved[0], moved[1:]) - energy.gradient(block, point[0], point[1:])
                ratio = torch.linalg.vector_norm(change, dim=1) / torch.linalg.vector_norm(
                    moved[block + 1] - point[block + 1], dim=1
                )
                assert (ratio <= 1 / energy.step_size(block)).all()


def test_parameters_can_be_differentiated_through_the_energy() -> None:
    energy, x, us = setting("skips")
    energy.value(x, us).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in energy.network.parameters())


def test_samples_are_separate() -> None:
    energy, x, us = setting("layers")
    assert isinstance(energy.fidelity, Bregman)
    with torch.no_grad():
        alone = LiftedEnergy(energy.network, Bregman(energy.fidelity.potential, energy.fidelity.data[1:2]), 0.7)
        assert torch.allclose(alone.value(x[1:2], [u[1:2] for u in us]), energy.value(x, us)[1:2], rtol=1e-13)


@pytest.mark.parametrize("weights", [0.0, -1.0, (1.0,), (1.0, 0.0)])
def test_weights_must_be_positive(weights: float | tuple[float, ...]) -> None:
    network = mlp((5, 8, 7, 4))
    with pytest.raises(ValueError, match=r"LiftedEnergy: weights is .* one for each of the 2 blocks"):
        LiftedEnergy(network, Bregman(network.output_potential, torch.zeros(1, 4)), weights)
