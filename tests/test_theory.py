"""Statements of docs/theory.md that are of no single room."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import netinverse as ni

F64 = torch.float64


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
