"""The contract of a penalty, over one list: where it vanishes, its derivatives, its block step on a lattice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse.lifting import BregmanPenalty, QuadraticPenalty, RegularisedPenalty
from netinverse.lifting.penalties import Penalty, penalty_of
from netinverse.networks.node import Node
from netinverse.protocols import ProximalFunction
from netinverse.tensors import inner

F64 = torch.float64


def node(activation: nn.Module) -> Node:
    model = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2)).double().eval()
    return ni.lift(model, torch.zeros(2, 3, dtype=F64)).hidden[0]


def nothing(u: Tensor) -> Tensor:
    return torch.zeros(len(u), dtype=u.dtype)


RELU, TANH, GELU, SHRINK = node(nn.ReLU()), node(nn.Tanh()), node(nn.GELU()), node(nn.Softshrink(0.3))
L1 = ni.L1(0.3)
CASES: dict[str, tuple[Penalty, Node, Callable[[Tensor], Tensor], ProximalFunction | None]] = {
    "relu": (penalty_of(RELU), RELU, ni.NonNegative(), None),
    "tanh": (penalty_of(TANH), TANH, ni.potential_of("tanh"), None),
    "shrink": (penalty_of(SHRINK), SHRINK, L1, None),
    "smooth": (penalty_of(GELU), GELU, nothing, None),
    "quadratic": (QuadraticPenalty(TANH), TANH, nothing, None),
    "relu with l1": (RegularisedPenalty(BregmanPenalty(ni.NonNegative()), L1), RELU, ni.NonNegative(), L1),
    "quadratic with l1": (RegularisedPenalty(QuadraticPenalty(TANH), L1), TANH, nothing, L1),
}
case = pytest.mark.parametrize("name", CASES)


def drawn(seed: int) -> Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=F64)


def inside(name: str, seed: int) -> Tensor:
    """A value that the activation takes."""
    return CASES[name][1](2 * drawn(seed))


@case
def test_it_is_zero_at_the_activation_and_positive_elsewhere(name: str) -> None:
    """But for what is added to it."""
    penalty, node, _, added = CASES[name]
    z, u = drawn(0), inside(name, 1)
    others = nothing if added is None else added
    torch.testing.assert_close(penalty(node(z), z), others(node(z)), rtol=1e-12, atol=1e-14)
    assert (penalty(u, z) - others(u) > 1e-3).all()


@case
def test_gradient_in_the_pre_activation(name: str) -> None:
    penalty, h = CASES[name][0], 1e-6
    u, z, direction = inside(name, 2), drawn(3), drawn(4)
    slope = (penalty(u, z + h * direction) - penalty(u, z - h * direction)) / (2 * h)
    torch.testing.assert_close(inner(penalty.z_gradient(u, z)[0], direction), slope, rtol=1e-7, atol=1e-8)


@case
def test_beside_what_prox_treats_it_is_linear_in_the_activation(name: str) -> None:
    """C(u, z) - C(w, z) = h(u) - h(w) + <u_gradient(z), u - w>, h = 1/2||.||^2 + Psi + R."""
    penalty, _, potential, added = CASES[name]
    u, w, z = inside(name, 5), inside(name, 6), drawn(7)

    def treated(u: Tensor) -> Tensor:
        return inner(u, u) / 2 + potential(u) + (0 if added is None else added(u))

    expected = treated(u) - treated(w) + inner(penalty.u_gradient(z), u - w)
    torch.testing.assert_close(penalty(u, z) - penalty(w, z), expected, rtol=1e-11, atol=1e-12)


@case
def test_the_block_step_is_the_minimiser_on_a_lattice(name: str) -> None:
    """argmin_u step (1/2||u||^2 + Psi(u) + R(u)) + 1/2||u - v||^2, entry by entry, each sample with its own step."""
    penalty, _, potential, added = CASES[name]
    steps, v = [0.1, 0.7, 5.0], torch.linspace(-2.6, 2.4, 11, dtype=F64).expand(3, -1)
    lattice = torch.linspace(-3, 3, 6001, dtype=F64)[:, None]
    h = lattice.square() / 2 + potential(lattice)[:, None] + (0 if added is None else added(lattice)[:, None])
    found = penalty.prox(v, torch.tensor(steps, dtype=F64))
    for sample, step in enumerate(steps):
        best = lattice.flatten()[(step * h + (lattice - v[0]).square() / 2).argmin(0)]
        assert (found[sample] - best).abs().max() <= 1e-3
        torch.testing.assert_close(penalty.prox(v[:1], step)[0], found[sample], rtol=1e-9, atol=1e-11)


def test_the_quadratic_penalty_takes_its_node_and_the_bregman_one_its_potential() -> None:
    assert penalty_of(RELU) == BregmanPenalty(RELU.potential) and isinstance(penalty_of(GELU), QuadraticPenalty)
    one, other = QuadraticPenalty(RELU), QuadraticPenalty(RELU)
    assert one != other and one == one


def test_a_sum_without_a_known_proximal_map_is_refused() -> None:
    with pytest.raises(ValueError, match="prox_of_sum: no proximal map is known for TanhEntropy \\+ GroupL21"):
        RegularisedPenalty(BregmanPenalty(ni.potential_of("tanh")), ni.GroupL21())
