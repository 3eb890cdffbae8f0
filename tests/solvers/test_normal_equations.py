"""The factorised Newton system against a dense one built from the differences themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from netinverse.operators.differences import Gradient
from netinverse.solvers.normal_equations import Factor, Weights

F64 = torch.float64


def system(shape: tuple[int, ...], rows: int, spread: float) -> tuple[Weights, Tensor, Tensor]:
    """Weights over ``spread`` orders of magnitude, W, and the dense H."""
    generator = torch.Generator().manual_seed(sum(shape) + rows)

    def positive(*size: int) -> Tensor:
        return 10 ** (spread * (torch.rand(*size, generator=generator, dtype=F64) - 0.5))

    root = torch.randn(*shape, 2, 2, generator=generator, dtype=F64)
    d = positive(*shape)[..., None, None] * (root @ root.mT)
    matrix = torch.randn(rows, torch.Size(shape).numel(), generator=generator, dtype=F64)
    weights = Weights(d[..., 0, 0].clone(), d[..., 1, 1].clone(), d[..., 0, 1].clone(), positive(rows), 0.1 * positive(*shape))
    size = matrix.shape[1]
    k = Gradient()(torch.eye(size, dtype=F64).reshape(size, *shape)).reshape(size, 2, size).permute(1, 2, 0)
    dense = weights.diagonal.flatten().diag() + matrix.T @ (weights.rows[:, None] * matrix)
    for i, j, part in ((0, 0, weights.down), (1, 1, weights.right), (0, 1, weights.cross), (1, 0, weights.cross)):
        dense = dense + k[i].T @ (part.flatten()[:, None] * k[j])
    return weights, matrix, dense


@pytest.mark.parametrize("shape", [(1, 5, 6), (2, 4, 3), (1, 1, 5), (1, 5, 1), (3, 2, 2)])
def test_products_and_solutions_are_those_of_the_dense_matrix(shape: tuple[int, ...]) -> None:
    weights, matrix, dense = system(shape, 4, 2.0)
    factor = Factor.of(weights, matrix)
    assert factor.sound
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    torch.testing.assert_close(factor.apply(x).flatten(), dense @ x.flatten(), rtol=1e-11, atol=1e-11)
    solution = torch.linalg.solve(dense, x.flatten())
    torch.testing.assert_close(
        factor.refined(factor.approximate(x), x, 1e-13, 8).flatten(), solution, rtol=1e-8, atol=1e-8 * float(solution.abs().max())
    )


def test_conjugate_gradients_repair_what_was_left_out() -> None:
    """Rows with a weight that counts are called negligible: the factor alone is wrong, the solution is not."""
    weights, matrix, dense = system((1, 5, 6), 6, 6.0)
    factor = Factor.of(weights, matrix, negligible=1e-2)
    x = torch.randn(1, 5, 6, generator=torch.Generator().manual_seed(1), dtype=F64)
    right = (dense @ x.flatten()).reshape(x.shape)
    start = factor.approximate(right)
    alone, solved = (float((found - x).abs().max()) for found in (start, factor.refined(start, right, 1e-13, 20)))
    assert alone > 1e-3
    assert solved < 1e-6 * alone


def test_an_indefinite_system_says_so() -> None:
    weights, matrix, _ = system((1, 4, 4), 3, 1.0)
    broken = Weights(weights.down, weights.right, 10 * (weights.down + weights.right), weights.rows, weights.diagonal)
    assert not Factor.of(broken, matrix).sound
