"""Statements of docs/theory.md that are of no single room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netinverse as ni
from netinverse import prox as px
from netinverse.fidelities import SquaredFidelity
from netinverse.lifting import LiftedEnergy
from netinverse.lifting.weights import downstream
from netinverse.problems import HEAVIER

F64 = torch.float64


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("potential", [px.NonNegative(), px.TanhEntropy(), px.SoftplusPotential(), px.SimplexEntropy()], ids=repr)
def test_the_penalty_is_convex_in_either_argument_and_not_in_both(potential: Any) -> None:
    """At points t of the way: B(u, .) below the chord, B(., z) below it by t (1 - t)/2 ||u - v||^2, B above it somewhere."""
    z, w = 2 * drawn(200, 5, seed=0), 2 * drawn(200, 5, seed=1)
    u, v = potential.prox(2 * drawn(200, 5, seed=2)), potential.prox(2 * drawn(200, 5, seed=3))
    penalty = potential.penalty
    for t in (0.1, 0.5, 0.8):
        rest = 1 - t
        assert (penalty(u, t * z + rest * w) <= t * penalty(u, z) + rest * penalty(u, w) + 1e-12).all()
        room = 0.5 * t * rest * (u - v).square().sum(1)
        assert (penalty(t * u + rest * v, z) + room <= t * penalty(u, z) + rest * penalty(v, z) + 1e-12).all()
    halfway = penalty((u + v) / 2, (z + w) / 2)
    assert (halfway > (penalty(u, z) + penalty(v, w)) / 2 + 1e-3).any()


def test_data_outside_the_domain_leave_the_penalty_without_a_lower_bound() -> None:
    """Phi(z) - <u, z> behind a ReLU, with one entry of u negative, falls by |u_i| for every unit that z_i falls."""
    u, away = torch.tensor([[1.0, -0.01]], dtype=F64), torch.tensor([[0.0, -1.0]], dtype=F64)
    values = [(px.NonNegative().smooth_conjugate(r * away) - (u * (r * away)).sum(1)).item() for r in (1.0, 1e3, 1e6)]
    assert values == pytest.approx([-0.01, -10.0, -1e4])


def test_the_lifted_energy_is_its_formula() -> None:
    """Two hidden layers, ReLU and tanh, behind matrices: Phi and Psi written out, each layer with a weight of its own."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    network = ni.lift(model, torch.zeros(1, 4, dtype=F64))
    x, y, u, v = drawn(2, 4, seed=0), drawn(2, 3, seed=1), drawn(2, 6, seed=2).relu(), drawn(2, 5, seed=3).tanh()
    found = LiftedEnergy(network, SquaredFidelity().at(network, y), (0.7, 3.0)).value(x, (u, v))
    (a, b), (c, d), (e, f) = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in model[::2]]
    for i in range(2):
        x_, y_, u_, v_ = (tensor[i].numpy() for tensor in (x, y, u, v))
        first, second = a @ x_ + b, c @ u_ + d
        relu = 0.5 * u_ @ u_ + 0.5 * np.maximum(first, 0) @ np.maximum(first, 0) - u_ @ first
        psi = v_ * np.arctanh(v_) + 0.5 * (np.log(1 - v_**2) - v_**2)
        tanh = 0.5 * v_ @ v_ + psi.sum() + np.log(np.cosh(second)).sum() - v_ @ second
        fidelity = 0.5 * np.sum((e @ v_ + f - y_) ** 2)
        assert found[i].item() == pytest.approx(fidelity + 0.7 * relu + 3.0 * tanh, rel=1e-12)


@pytest.mark.parametrize("weight", [0.4, 1.0, 1.3])
def test_the_lifted_energy_of_plus_layers_is_its_formula(weight: float) -> None:
    """Squares of x + sum v_l, of x and of v_l take the place of the products of u_l with what enters its layer."""
    layers = [ni.layers.PlusLayer(4, 7).double() for _ in range(3)]
    network = ni.lift(nn.Sequential(*layers).eval(), torch.zeros(1, 4, dtype=F64))
    x, y, us = drawn(5, 4, seed=0), drawn(5, 4, seed=1), [drawn(5, 7, seed=seed).relu() for seed in (2, 3, 4)]
    with torch.no_grad():
        found, state = 0.5 * y.square().sum(1) + weight / 2 * x.square().sum(1), x
        for layer, u in zip(layers, us, strict=True):
            v, z = u @ layer.weight, state @ layer.weight.T + layer.bias
            squares = v.square().sum(1) + u.square().sum(1) + z.relu().square().sum(1)
            found = found + weight * (0.5 * squares - u @ layer.bias)
            state = state + v
        found = found + (1 - weight) / 2 * state.square().sum(1) - (state * y).sum(1)
        energy = LiftedEnergy(network, SquaredFidelity().at(network, y), weight)
        torch.testing.assert_close(energy.value(x, us), found, rtol=1e-12, atol=1e-12)


def test_the_default_weight_of_a_layer_is_three_times_the_mean_square_of_its_derivative() -> None:
    """Behind activations with slope one, in a chain whose matrices stretch everything by 0.5 and by 4: 3 * 4 and 3 * 16."""
    a, b, c = (torch.linalg.qr(drawn(6, 6, seed=seed)).Q for seed in (0, 1, 2))
    model = nn.Sequential(*(part for _ in range(3) for part in (nn.Linear(6, 6), nn.LeakyReLU(1.0)))).double().eval()[:-1]
    for layer, matrix in zip(model[::2], (a, 0.5 * b, 4 * c), strict=True):
        layer.weight.data = matrix
    network = ni.lift(model, torch.zeros(1, 6, dtype=F64))
    assert [HEAVIER * mean for mean in downstream(network)] == pytest.approx([3 * 4.0, 3 * 16.0], rel=1e-12)


@pytest.mark.parametrize("regulariser", [ni.Tikhonov(), ni.Sparsity(), ni.TotalVariation()], ids=lambda r: r.name)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh()], ids=["relu", "tanh"])
def test_the_fidelity_rises_and_the_regulariser_falls_with_alpha(activation: nn.Module, regulariser: Any) -> None:
    """Behind one layer, up to what the gaps leave: f(x_a) + a R(x_a) <= f(x_b) + a R(x_b) + gap_a for every pair a, b."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 14, dtype=F64), activation).eval()
    data, level = ni.add_noise(network(torch.rand(1, 1, 9, dtype=F64)).detach(), relative=0.1, seed=0)
    alpha = torch.logspace(-3, 0, 6, dtype=F64)
    result = ni.invert(
        network,
        data.expand(6, -1),
        input_shape=(1, 9),
        noise_level=level.expand(6),
        regulariser=regulariser,
        rule=ni.Fixed(alpha),
        tolerance=1e-8,
    )
    f, penalty, gap = result.fidelity_value, regulariser(result.x), result.certificate.value
    assert result.converged
    # The sum of the two optimality inequalities of neighbours, and the first of them.
    slack = (gap[1:] + gap[:-1]) / alpha.diff()
    assert (penalty.diff() <= slack).all()
    assert (f.diff() >= -gap[:-1] - alpha[:-1] * slack).all()
    assert f[-1] > f[0] and penalty[-1] < penalty[0]
