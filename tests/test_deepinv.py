"""deepinv: networks as its physics, its physics and denoisers in netinverse, and its scaling; run where it is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netinverse as ni

deepinv = pytest.importorskip("deepinv", reason="deepinv is not installed; it is no dependency: python -m pip install deepinv")

F64 = torch.float64
PAGE = Path(__file__).parents[1] / "docs" / "howto" / "peers.md"


@pytest.fixture(scope="module")
def network() -> ni.LiftedNetwork:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 30), nn.Tanh())
    return ni.lift(model.double().eval(), torch.zeros(1, 1, 8, 8, dtype=F64))


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.slow
def test_the_program_of_the_page_runs() -> None:
    names: dict[str, object] = {"__name__": "page"}
    for block in re.findall(r"^```py\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL):
        exec(compile(block, PAGE.name, "exec", dont_inherit=True), names)


def test_a_network_is_a_physics(network: ni.LiftedNetwork) -> None:
    """A is the network, A_vjp the adjoint of its derivative, and the gradient of deepinv's L2 that of 1/2||F(x) - y||^2."""
    x, v, physics = drawn(3, 1, 8, 8, seed=0), drawn(3, 30, seed=1), deepinv.physics.Physics(A=network)
    output, derivative = ni.NetworkOutput(network).linearise(x)
    torch.testing.assert_close(physics.A(x), output, rtol=0, atol=1e-14)
    torch.testing.assert_close(physics.A_vjp(x, v), derivative.adjoint(v), rtol=0, atol=1e-13)
    gradient = deepinv.optim.data_fidelity.L2().grad(x, v, physics)
    torch.testing.assert_close(gradient, derivative.adjoint(output - v), rtol=0, atol=1e-13)


def test_a_derivative_is_a_linear_physics(network: ni.LiftedNetwork) -> None:
    """deepinv's own test of the adjoint, and its power iteration for the square of the norm."""
    x = drawn(1, 1, 8, 8, seed=0)
    derivative = ni.NetworkOutput(network).linearise(x)[1]
    linear = deepinv.physics.LinearPhysics(A=derivative, A_adjoint=derivative.adjoint)
    assert linear.adjointness_test(x) < 1e-12
    largest = ni.conditioning(network, x).largest.max().item()
    assert linear.compute_sqnorm(x, tol=1e-9, max_iter=1000, verbose=False).item() == pytest.approx(largest**2, rel=1e-4)


def test_values_differ_by_the_factor_of_the_page(network: ni.LiftedNetwork) -> None:
    """sigma^2 times deepinv's objective is that of netinverse at alpha = lambda sigma^2."""
    x, y, sigma, weight = drawn(3, 1, 8, 8, seed=0), drawn(3, 30, seed=1), 0.3, 0.7
    physics, prior = deepinv.physics.Physics(A=network), deepinv.optim.prior
    fidelity = deepinv.optim.data_fidelity.L2(sigma=sigma)(x, y, physics)
    squares = 0.5 * (network(x) - y).square().sum(1)
    pairs: list[tuple[Any, Any]] = [
        (prior.TVPrior(), ni.TotalVariation()),
        (prior.Tikhonov(), ni.Tikhonov()),
        (prior.L1Prior(), ni.Sparsity()),
    ]
    for theirs, ours in pairs:
        torch.testing.assert_close(
            sigma**2 * (fidelity + weight * theirs.fn(x)), squares + weight * sigma**2 * ours(x), rtol=1e-12, atol=0
        )


def test_total_variation_denoises_alike() -> None:
    x = drawn(2, 1, 8, 8, seed=0)
    theirs = deepinv.models.TVDenoiser(crit=1e-10, n_it_max=4000)(x, 0.1)
    torch.testing.assert_close(theirs, ni.TotalVariation().prox(x, 0.1, tolerance=1e-12).x, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BilateralFilter", "DRUNet"])
def test_a_denoiser_of_deepinv_solves_the_equation_of_its_red(name: str) -> None:
    """grad L2 + alpha grad RED = 0, both as deepinv computes them; the weights of the DRUNet are random."""
    torch.manual_seed(1)
    settings = {"in_channels": 1, "out_channels": 1, "nc": (4, 8, 8, 8), "nb": 1, "pretrained": None}
    denoiser = getattr(deepinv.models, name)(**settings if name == "DRUNet" else {}).eval()
    smooth = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(64, 40)).eval()
    network = ni.lift(smooth, torch.zeros(1, 1, 8, 8))
    data = network(drawn(2, 1, 8, 8, seed=0).float()).detach()
    prior = ni.DenoiserPrior(denoiser, sigma=0.1)
    result = ni.invert(network, data, regulariser=prior, rule=ni.Fixed(0.1), tolerance=1e-6)
    assert result.converged
    with torch.no_grad():
        pull = 0.1 * deepinv.optim.prior.RED(denoiser).grad(result.x, 0.1)
        push = deepinv.optim.data_fidelity.L2().grad(result.x, data, deepinv.physics.Physics(A=network))
    assert (pull + push).norm() < 1e-2 * pull.norm()
