"""The backward sweep against the energy's own blocks, automatic differentiation and back-propagation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import netinverse as ni
from netinverse.lifting import LiftedEnergy, QuadraticPenalty, backward_sweep
from netinverse.training.losses import CrossEntropy, PenaltyLoss

F64 = torch.float64


class Branches(nn.Module):
    """A convolution, a skip connection and an activation that two layers take."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        u = torch.relu(self.first(x))
        out: Tensor = self.last((u + torch.tanh(self.second(u))).flatten(1))
        return out


class Normalised(nn.Module):
    """A weight made of parameters, of which one also enters the last layer, where nothing is made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = weight_norm(nn.Linear(6, 4))
        self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        u = torch.tanh(self.second(torch.relu(self.first(x))))
        out: Tensor = self.last(u) + self.first.parametrizations.weight.original0[:, 0] * u  # type: ignore[union-attr, index]
        return out


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def network(model: nn.Module, *shape: int) -> ni.LiftedNetwork:
    model = model.double().eval()
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(0.4 * drawn(*p.shape, seed=k + 1))
    return ni.lift(model, torch.zeros(2, *shape, dtype=F64))


CASES = {
    "layers": (lambda: network(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4)), 6), (6,)),
    "branches": (lambda: network(Branches(), 1, 4, 4), (1, 4, 4)),
    "normalised": (lambda: network(Normalised(), 6), (6,)),
}
each_case = pytest.mark.parametrize(("make", "shape"), list(CASES.values()), ids=list(CASES))


@pytest.mark.parametrize("penalty", ["bregman", "quadratic"])
def test_one_sweep_is_the_block_steps_in_turn_and_the_gradients_are_those_of_the_energy(penalty: str) -> None:
    """With u_l replaced block by block as the sweep says, the gradient in A_l's parameters is taken after the step in u_l."""
    make, shape = CASES["layers"]
    lifted, x, targets = make(), drawn(5, *shape, seed=20), torch.tensor([0, 1, 2, 3, 0])
    kinds = {"penalty": QuadraticPenalty} if penalty == "quadratic" else {}
    energy = LiftedEnergy(lifted, CrossEntropy(targets), 0.7, **kinds)
    start = [u + 0.1 * drawn(*u.shape, seed=30 + k).abs() for k, u in enumerate(energy.activations(x))]
    start = [node.potential.project(u) for node, u in zip(energy.blocks, start, strict=True)]
    steps = [0.3, 0.2]
    found = backward_sweep(energy, x, steps, lambda block, activation: start[block])
    us = list(start)
    gradients: dict[str, Tensor] = {}

    def gradient_of(name: str) -> None:
        """d/dtheta of the energy at the point where the sweep is, for the parameters of one affine node."""
        node = next(node for node in lifted.nodes if node.name == name)
        own = [(n, p) for n, p in lifted.named_parameters() if n in node.program.free]
        for (n, _), g in zip(own, torch.autograd.grad(energy.value(x, us).sum(), [p for _, p in own]), strict=True):
            gradients[n] = g

    gradient_of(energy.output)
    for block in (1, 0):
        with torch.no_grad():
            us[block] = energy.prox(block, us[block] - steps[block] * energy.gradient(block, x, us), steps[block])
        gradient_of(energy.blocks[block].inputs[0])
    for ours, exact in zip(found.us, us, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-12)
    assert found.gradients.keys() == gradients.keys() == dict(lifted.named_parameters()).keys()
    for name, exact in gradients.items():
        torch.testing.assert_close(found.gradients[name], exact, rtol=1e-9, atol=1e-11)


@each_case
def test_without_steps_the_gradients_are_those_of_the_energy_at_the_beginning(make, shape) -> None:  # type: ignore[no-untyped-def]
    lifted, x = make(), drawn(5, *shape, seed=20)
    energy = LiftedEnergy(lifted, CrossEntropy(torch.tensor([0, 1, 2, 3, 0])), 0.7)
    us = [node.potential.project(u + 0.2) for node, u in zip(energy.blocks, energy.activations(x), strict=True)]
    found = backward_sweep(energy, x, [1e-12, 1e-12], lambda block, activation: us[block].detach())
    exact = torch.autograd.grad(energy.value(x, [u.detach() for u in us]).sum(), list(lifted.parameters()))
    for (name, _), g in zip(lifted.named_parameters(), exact, strict=True):
        torch.testing.assert_close(found.gradients[name], g, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("make", "shape"), [CASES["layers"], CASES["branches"]], ids=["layers", "branches"])
def test_from_the_forward_pass_the_direction_is_that_of_back_propagation(make, shape) -> None:  # type: ignore[no-untyped-def]
    """Heavy layers move little: u+ - sigma(z) is the slope of the activation times what is asked, halved at each of them.

    A parameter of two layers gets the sum of two shares that are halved a different number of times: another direction.
    """
    lifted, x, targets = make(), drawn(5, *shape, seed=20), drawn(5, 4, seed=21)
    loss = PenaltyLoss(lifted.output_potential, targets)
    exact = torch.autograd.grad(loss(lifted(x)).sum(), list(lifted.parameters()))
    found = backward_sweep(LiftedEnergy(lifted, loss, 1e6), x, [1e-6, 1e-6])
    for (name, _), g in zip(lifted.named_parameters(), exact, strict=True):
        ours = found.gradients[name]
        assert float((ours * g).sum() / (ours.norm() * g.norm())) > 0.9
        assert 0.2 < float(ours.norm() / g.norm()) < 1.01
    torch.testing.assert_close(found.fidelity, loss(lifted(x)).detach())


@each_case
def test_with_safe_steps_the_energy_falls(make, shape) -> None:  # type: ignore[no-untyped-def]
    lifted, x = make(), drawn(5, *shape, seed=20)
    energy = LiftedEnergy(lifted, CrossEntropy(torch.tensor([0, 1, 2, 3, 0])), 0.7)
    us = energy.activations(x)
    steps = [energy.step_size(block) for block in range(2)]
    for _ in range(5):
        before = energy.value(x, us)
        us = backward_sweep(energy, x, steps, lambda block, activation, us=us: us[block]).us
        assert (energy.value(x, us) <= before + 1e-12).all()
