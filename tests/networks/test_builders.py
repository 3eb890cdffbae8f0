"""Ready-made networks: what their names promise."""

from __future__ import annotations

import pytest
import torch

import netinverse as ni


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus"])
@pytest.mark.parametrize("width", [None, 9])
def test_a_monotone_residual_network_never_brings_two_points_closer(activation: str, width: int | None) -> None:
    """||N(x) - N(x')|| >= ||x - x'||, also with weights far from the first ones; and N is lifted exactly."""
    network = ni.monotone_residual_network(6, 4, width, activation, dtype=torch.float64)
    assert network.is_exactly_lifted and network.input_shape == (6,) and len(network.hidden) == 4
    generator = torch.Generator().manual_seed(1)
    for scale in (1.0, 5.0):
        with torch.no_grad():
            for p in network.parameters():
                p.mul_(scale)
            x, y = (torch.randn(200, 6, generator=generator, dtype=torch.float64) for _ in range(2))
            apart = (network(x) - network(y)).norm(dim=1) / (x - y).norm(dim=1)
        assert apart.min() >= 1 - 1e-12


def test_it_is_inverted_to_the_noise() -> None:
    """The inverse is 1-Lipschitz: the error of the input is at most that of the output plus what is left of the residual."""
    network = ni.monotone_residual_network(8, 5, activation="tanh", dtype=torch.float64)
    truth = torch.randn(4, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    data, level = ni.add_noise(network(truth).detach(), relative=0.05)
    result = ni.invert(network, data, noise_level=level)
    assert result.converged
    assert ((result.x - truth).norm(dim=1) <= level + result.residual + 1e-9).all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="monotone_residual_network: depth is 0"):
        ni.monotone_residual_network(3, 0)
    with pytest.raises(ValueError, match="activation is 'gelu', but must be one of"):
        ni.monotone_residual_network(3, 2, activation="gelu")
