"""Methods that stop, and what they tell the rule: its floor, its weight, the noise as given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import netinverse as ni
from netinverse.methods.method import Method

F64 = torch.float64
STOPPING: list[Method] = [
    ni.Landweber(max_iterations=4000),
    ni.LinearisedBregman(max_iterations=4000),
    ni.BregmanIteration(),
    ni.LevenbergMarquardt(),
    ni.GaussNewton(),
]


def linear(rows: int, columns: int, seed: int = 0) -> tuple[nn.Linear, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(columns, rows, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(rows, columns, generator=generator, dtype=F64) / columns**0.5)
        layer.weight += torch.eye(rows, columns)
    return layer, torch.randn(3, columns, generator=generator, dtype=F64)


@pytest.mark.parametrize("method", STOPPING, ids=lambda m: type(m).__name__)
def test_the_floor_is_the_rules_own(method: Method) -> None:
    """Noise below 8e-4 of the data is met where the rule has no floor, and not looked for where it has the default."""
    layer, truth = linear(6, 4)
    data, level = ni.add_noise(layer(truth).detach(), relative=1e-4, seed=1)
    found = ni.invert(
        layer,
        data,
        input_shape=4,
        noise_level=level,
        regulariser=ni.Tikhonov(),
        method=method,
        rule=ni.DiscrepancyPrinciple(floor=0.0),
        tolerance=1e-9,
    )
    assert all(status is ni.Status.CONVERGED for status in found.status)
    assert (found.residual <= 1.01 * level).all()
    coarse = ni.invert(layer, data, input_shape=4, noise_level=level, regulariser=ni.Tikhonov(), method=method, tolerance=1e-9)
    assert (coarse.residual > 1.01 * level).any(), "the default floor ends above"


@pytest.mark.parametrize("mu", [0.05, 1.0, 20.0])
def test_linearised_bregman_is_the_recursion_and_alpha_weighs_the_regulariser(mu: float) -> None:
    layer, truth = linear(5, 4)
    data = layer(truth).detach()
    method = ni.LinearisedBregman(mu=mu, max_iterations=7)
    found = ni.invert(layer, data, input_shape=4, regulariser=ni.Sparsity(), method=method, rule=ni.Fixed(1e-9), start=0 * truth)
    a, y = layer.weight.detach().numpy(), data.numpy()
    step = 1 / np.linalg.norm(a, 2) ** 2
    p, x = np.zeros((3, 4)), np.zeros((3, 4))
    for _ in range(7):
        p = p - step * (x @ a.T - y) @ a
        x = np.sign(p) * np.maximum(np.abs(p) - mu, 0)
    np.testing.assert_allclose(found.x.numpy(), x, atol=1e-5)
    np.testing.assert_allclose(found.alpha.numpy(), mu / (7 * step), rtol=1e-5)


def test_lepskii_stops_at_the_same_quality_whatever_mu() -> None:
    layer, truth = linear(12, 8)
    data, level = ni.add_noise(layer(truth).detach(), relative=0.1, seed=2)
    errors = []
    for mu in (1.0, 20.0):
        method = ni.LinearisedBregman(mu=mu, max_iterations=300)
        found = ni.invert(
            layer, data, input_shape=8, noise_level=level, regulariser=ni.Tikhonov(), method=method, rule=ni.Lepskii()
        )
        errors.append((found.x - truth).norm(dim=1) / truth.norm(dim=1))
    torch.testing.assert_close(errors[0], errors[1], rtol=0.1, atol=0)


def test_a_weight_that_is_asked_for_ends_the_iteration() -> None:
    layer, truth = linear(5, 4)
    data, level = ni.add_noise(layer(truth).detach(), relative=0.01, seed=1)
    method = ni.Landweber(max_iterations=500)
    found = ni.invert(layer, data, input_shape=4, noise_level=level, method=method, rule=ni.Fixed(0.5))
    assert (found.steps < 20).all() and (found.alpha <= 0.5).all()
    assert all(status is ni.Status.CONVERGED for status in found.status)


def test_the_a_priori_weight_is_of_the_noise_as_given() -> None:
    """Projection onto the range of the last activation removes noise; theory's weight is of what it was before."""
    layer, truth = linear(30, 4)
    network = nn.Sequential(layer, nn.ReLU()).eval()
    data, level = ni.add_noise(network(truth).detach(), relative=0.2, seed=1)
    found = ni.invert(network, data, input_shape=4, noise_level=level, method=ni.Landweber(), rule=ni.APriori())
    assert found.noise_level is not None and (found.noise_level < 0.97 * level).all()
    sums = 1 / found.alpha
    step = sums / found.steps
    first = (1 / (step * level)).ceil() * step
    torch.testing.assert_close(found.alpha, 1 / first, rtol=1e-6, atol=0)
