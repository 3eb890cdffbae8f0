"""The Bregman noise level bounds the penalty at the truth, and only because inactive units are treated."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import netinverse as ni
from netinverse.noise import noise_left_after_projection, snap_to_saturation
from netinverse.protocols import Potential
from netinverse.prox import L1, Box, NonNegative, Zero
from netinverse.prox.entropies import TanhEntropy
from netinverse.prox.prelu import PReLUPotential
from netinverse.prox.rectifiers import LeakyReLUPotential

F64 = torch.float64
SLOPES = torch.tensor([0.3, 0.7, 0.05, 1.0, 0.2], dtype=F64)
POTENTIALS: dict[str, Potential] = {
    "identity": Zero(),
    "ReLU": NonNegative(),
    "hard tanh": Box(-1.0, 1.0),
    "leaky ReLU": LeakyReLUPotential(0.1),
    "PReLU": PReLUPotential(SLOPES),
}


def used(potential: Potential, data: Tensor, level: Tensor, snap: float) -> Tensor:
    projected = potential.project(data)
    return snap_to_saturation(potential, projected, noise_left_after_projection(data, projected, level), snap)


@pytest.mark.parametrize("name", POTENTIALS)
@given(st.integers(0, 10**6), st.floats(-4, 0), st.floats(-1, 1))
def test_the_penalty_at_the_truth_is_below_the_level(name: str, seed: int, noise: float, width: float) -> None:
    """Where all saturated units are treated: entries of noise below ``snap`` standard deviations there."""
    potential, g = POTENTIALS[name], torch.Generator().manual_seed(seed)
    z = 10**width * torch.randn(4, 5, 6, generator=g, dtype=F64)
    clean = potential.prox(z)
    data, level = ni.add_noise(clean, relative=10**noise, seed=seed)
    for snap in (3.0, 6.0):
        v = used(potential, data, level, snap)
        saturated = (z - clean).abs() > 0 if name in ("ReLU", "hard tanh") else torch.zeros_like(z, dtype=torch.bool)
        treated = (~saturated | (v == clean)).flatten(1).all(1)
        bound = ni.bregman_noise_level(potential, data, level, snap=snap)
        assert (ni.bregman_penalty(potential, v, z) <= bound.square() * (1 + 1e-12) + 1e-300)[treated].all()


def test_the_level_is_attained_without_a_bend() -> None:
    data, level = ni.add_noise(torch.randn(3, 20, dtype=F64), relative=0.2)
    torch.testing.assert_close(ni.bregman_noise_level(Zero(), data, level), level / 2**0.5)


def mostly_inactive(noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pre-activations of -2, but for some of 1: data and level of the given relative noise."""
    z = torch.full((1, 4000), -2.0, dtype=F64)
    z[:, :200] = 1.0
    return z, *ni.add_noise(NonNegative().prox(z), relative=noise, seed=1)


def test_untreated_inactive_units_cost_in_proportion_to_the_noise() -> None:
    """B at the truth over five decades of noise: slope 1 as the data are, slope 2 with inactive units treated."""
    raw, treated, bound = [], [], []
    for noise in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        z, data, level = mostly_inactive(noise)
        raw.append(ni.bregman_penalty(NonNegative(), data.clamp(min=0), z).log10().item())
        treated.append(ni.bregman_penalty(NonNegative(), used(NonNegative(), data, level, 5.0), z).log10().item())
        bound.append(2 * ni.bregman_noise_level(NonNegative(), data, level, snap=5.0).log10().item())
    slopes = [(column[0] - column[-1]) / 4 for column in (raw, treated, bound)]
    assert slopes == pytest.approx([1, 2, 2], abs=0.05)
    assert all(t <= b <= t + 2 for t, b in zip(treated, bound, strict=True))
    assert raw[-1] > bound[-1] + 4


def test_messages() -> None:
    data = torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"inverse of the activation of TanhEntropy has no bounded slope.*squared fidelity"):
        ni.bregman_noise_level(TanhEntropy(), data, 0.1)
    with pytest.raises(ValueError, match=r"bregman_noise_level: snap is -1, but must be 0"):
        ni.bregman_noise_level(NonNegative(), data, 0.1, snap=-1)
    with pytest.raises(ValueError, match=r"noise_level is -1 in samples 0, 1"):
        ni.bregman_noise_level(NonNegative(), data, -1.0)
    assert ni.bregman_noise_level(NonNegative(), data[:0], 0.1).shape == (0,)


@pytest.mark.parametrize("relative", [1e-4, 1e-2, 0.1])
def test_noise_around_the_plateau_of_soft_thresholding_is_set_to_it(relative: float) -> None:
    """B(v, z) is below delta^2 again but for noise beyond three standard deviations; it is linear in the noise otherwise."""
    potential = L1(0.5)
    z = torch.randn(6, 400, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    clean = potential.prox(z)
    data, level = ni.add_noise(clean, relative=relative)
    treated = snap_to_saturation(potential, data, level, 3.0)
    treated_cost, cost = potential.penalty(treated, z) / level**2, potential.penalty(data, z) / level**2
    assert treated_cost.median() < 1 and (treated_cost < 0.3 * cost).all() and (cost > 2).all()
    sigma = level[:, None] / 400**0.5
    assert torch.equal(treated[clean.abs() > 6 * sigma], data[clean.abs() > 6 * sigma])
    assert torch.equal(snap_to_saturation(potential, data, 0 * level, 3.0), data)
    alone = snap_to_saturation(potential, data[2:3], level[2:3], 3.0)
    assert torch.equal(alone[0], treated[2])
