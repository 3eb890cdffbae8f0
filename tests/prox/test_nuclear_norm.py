"""The nuclear norm against a cone solver and its own duality."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

import netinverse as ni

F64 = torch.float64


def matrices(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=F64)


@pytest.mark.parametrize("step", [0.3, 2.0])
def test_prox_agrees_with_a_cone_solver(step: float) -> None:
    v = matrices(2, 4, 6)
    found = ni.NuclearNorm(0.7).prox(v, torch.tensor([step, 1.0], dtype=F64))
    x = cp.Variable((4, 6))
    for k, weight in enumerate((0.7 * step, 0.7)):
        cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - v[k].numpy()) + weight * cp.normNuc(x))).solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(found[k].numpy(), x.value, atol=1e-5)
    heavy = ni.NuclearNorm(1.0).prox(v, 1.5)
    assert torch.linalg.matrix_rank(heavy[0]) < 4


def test_fenchel_young_holds_with_equality_at_the_prox() -> None:
    f, v = ni.NuclearNorm(0.7), matrices(3, 5, 2, 3)
    x = f.prox(v, 0.4)
    p = (v - x) / 0.4
    torch.testing.assert_close(f(x) + f.conjugate(0.999999999 * p), (x * p).flatten(1).sum(1))
    assert f.conjugate(1.01 * p).isinf().all()
    # A filter counts as the matrix of its rows.
    torch.testing.assert_close(f(v), f(v.flatten(2)))


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 4\), but each sample must be a matrix or a filter.*x\[None\]"):
        ni.NuclearNorm()(matrices(3, 4))
    with pytest.raises(ValueError, match="NuclearNorm: weight is 0"):
        ni.NuclearNorm(0.0)
