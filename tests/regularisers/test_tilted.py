"""Bregman distances as regularisers, each sample with its own slope, against the formula and cvxpy."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

import netinverse as ni
from netinverse.prox import bregman_distance
from netinverse.regularisers import Regulariser, TiltedRegulariser
from tests.regularisers.test_contract import TIGHT, matrix

SHAPE = (1, 4, 5)
REGULARISERS: list[Regulariser] = [ni.TotalVariation(isotropic=False), ni.Sparsity(), ni.Tikhonov()]
EVERY = pytest.mark.parametrize("regulariser", REGULARISERS, ids=lambda r: r.name)


def drawn(seed: int) -> Tensor:
    return torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tilted(regulariser: Regulariser) -> tuple[TiltedRegulariser, Tensor, Tensor]:
    """Tilted at y by a subgradient there, with y and the subgradient."""
    y = drawn(0)
    image = regulariser.transform(SHAPE)(y)
    slope = image if isinstance(regulariser, ni.Tikhonov) else image.sign()
    return TiltedRegulariser.at(regulariser, y, slope), y, regulariser.transform(SHAPE).adjoint(slope)


@EVERY
def test_it_is_the_regulariser_at_the_point_and_the_bregman_distance_to_it(regulariser: Regulariser) -> None:
    tilt, y, p = tilted(regulariser)
    x = drawn(1)
    torch.testing.assert_close(tilt(x), regulariser(y) + bregman_distance(regulariser, x, y, p), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tilt(y), regulariser(y))
    picked = torch.tensor([2, 0])
    torch.testing.assert_close(tilt.select(picked)(x[picked]), tilt(x)[picked])


@EVERY
@pytest.mark.parametrize("constraint", [None, ni.Box(-0.2, 0.6)], ids=["free", "box"])
def test_its_proximal_map(regulariser: Regulariser, constraint: ni.Box | None) -> None:
    tilt, _, p = tilted(regulariser)
    z, step = drawn(2), torch.tensor([0.3, 0.05, 1.0], dtype=torch.float64)
    found = tilt.prox(z, step, constraint, tolerance=1e-12)
    k = matrix(regulariser, SHAPE)
    for i in range(3):
        v = cp.Variable(20)
        penalty = 0.5 * cp.sum_squares(v) if isinstance(regulariser, ni.Tikhonov) else cp.norm1(k @ v)
        cost = float(step[i]) * (penalty - p[i].flatten().numpy() @ v) + 0.5 * cp.sum_squares(v - z[i].flatten().numpy())
        cp.Problem(cp.Minimize(cost), [] if constraint is None else [v >= -0.2, v <= 0.6]).solve(**TIGHT)
        assert np.abs(found.x[i].flatten().numpy() - v.value).max() < 2e-5
    if constraint is None:
        moved = z - step.reshape(-1, 1, 1, 1) * tilt.transform(SHAPE).adjoint(found.dual)
        torch.testing.assert_close(moved, found.x, rtol=0, atol=1e-6)
