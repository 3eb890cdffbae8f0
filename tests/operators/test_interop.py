"""Networks' derivatives as linear operators of SciPy and PyLops."""

from __future__ import annotations

import numpy as np
import pylops
import pytest
import torch
from pylops.utils import dottest
from scipy.sparse.linalg import svds
from torch import nn

import netinverse as ni


@pytest.fixture
def network() -> ni.LiftedNetwork:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 20), nn.ReLU()).double().eval()
    return ni.lift(model, torch.zeros(2, 1, 6, 6, dtype=torch.float64))


def test_products_are_those_of_autograd(network: ni.LiftedNetwork) -> None:
    x = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    operator = ni.NetworkOutput(network).to_scipy(x)
    assert operator.shape == (40, 72) and operator.dtype == np.float64
    with torch.no_grad():
        jacobian = torch.func.jacrev(network)(x).reshape(40, 72)
    np.testing.assert_allclose(operator @ np.eye(72), jacobian.numpy(), atol=1e-13)
    np.testing.assert_allclose(operator.T @ np.eye(40), jacobian.numpy().T, atol=1e-13)


def test_pylops_and_scipy_take_it(network: ni.LiftedNetwork) -> None:
    x = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    operator = ni.NetworkOutput(network).to_scipy(x)
    wrapped = pylops.aslinearoperator(operator)
    assert dottest(wrapped, 60, 108, rtol=1e-12)
    largest = svds(operator, k=1, return_singular_vectors=False)[0]
    assert largest == pytest.approx(float(ni.conditioning(network, x).largest.max()), rel=1e-8)


def test_float32_stays_float32(network: ni.LiftedNetwork) -> None:
    single = network.astype(torch.float32)
    operator = ni.PreActivation(single).to_scipy(torch.zeros(1, 1, 6, 6))
    assert operator.dtype == np.float32 and (operator @ np.ones(36, np.float32)).dtype == np.float32
