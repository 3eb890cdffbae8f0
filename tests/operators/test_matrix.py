"""A dense matrix as a linear map, and an affine operator turned into one."""

from __future__ import annotations

import torch
from torch import nn

from netinverse.networks import PreActivation
from netinverse.networks.capture import lift
from netinverse.operators.matrix import Matrix, assemble
from netinverse.tensors import inner

F64 = torch.float64


def test_the_adjoint_is_the_transpose() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = Matrix(torch.randn(6, 8, generator=generator, dtype=F64), (2, 3), (1, 2, 4))
    x = torch.randn(3, 1, 2, 4, generator=generator, dtype=F64)
    y = torch.randn(3, 2, 3, generator=generator, dtype=F64)
    torch.testing.assert_close(inner(matrix(x), y), inner(x, matrix.adjoint(y)), rtol=1e-12, atol=1e-12)


def test_an_affine_network_is_its_matrix() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Flatten(), nn.Linear(8, 5), nn.ReLU()).double().eval()
    network = lift(module, torch.zeros(1, 1, 5, 6, dtype=F64))
    x = torch.randn(4, 1, 5, 6, dtype=F64)
    for chunk in (2, 256):
        operator = assemble(PreActivation(network), x, chunk)
        assert operator.matrix.weight.shape == (5, 30)
        torch.testing.assert_close(torch.relu(operator(x)), module(x).detach(), rtol=1e-12, atol=1e-12)
        value, derivative = operator.linearise(x)
        torch.testing.assert_close(derivative(x) + operator.offset, value)
