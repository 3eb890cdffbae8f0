"""Forward differences: against numpy, the adjoint to rounding, the exact norm."""

import numpy as np
import pytest
import torch

from netinverse.operators.differences import Gradient
from netinverse.tensors import inner

SHAPES = [(1, 7), (2, 5, 6), (1, 1, 4), (2, 3, 4, 5), (1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_against_numpy_adjoint_and_norm(shape: tuple[int, ...]) -> None:
    gradient, x = Gradient(), torch.randn((3, *shape), dtype=torch.float64)
    y = gradient(x)
    for i in range(len(shape) - 1):
        last = np.take(x.numpy(), [-1], axis=2 + i)
        assert np.array_equal(y[:, i].numpy(), np.diff(x.numpy(), axis=2 + i, append=last))
    q = torch.randn_like(y)
    torch.testing.assert_close(inner(y, q), inner(x, gradient.adjoint(q)), rtol=1e-12, atol=1e-12)
    size = x[0].numel()
    matrix = gradient(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).reshape(size, -1)
    exact = torch.linalg.matrix_norm(matrix, 2).item()
    assert Gradient.norm_bound(shape) == pytest.approx(exact or 1.0, rel=1e-12)


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Gradient: one sample has shape \(300,\).*Reshape"):
        Gradient()(torch.zeros(2, 300))
