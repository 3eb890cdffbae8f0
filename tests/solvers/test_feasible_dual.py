"""The field that closes a dual point: least squares from outside, and the ball by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netinverse.operators.differences import Gradient
from netinverse.problems import Term
from netinverse.prox import L1, GroupL21, NonNegative, Scaled
from netinverse.solvers.feasible_dual import closing, excess, inverse_laplacian

F64 = torch.float64


@pytest.mark.parametrize("shape", [(1, 7), (2, 5, 6), (1, 1, 9), (1, 3, 4, 5)])
def test_the_field_is_the_least_one_that_absorbs_all_but_the_mean(shape: tuple[int, ...]) -> None:
    """Against the dense least-norm solution of K^T p = r."""
    generator = torch.Generator().manual_seed(3)
    pulled = torch.randn(2, *shape, generator=generator, dtype=F64)
    size = pulled[0].numel()
    columns = Gradient()(torch.eye(size, dtype=F64).reshape(size, *shape)).reshape(size, -1)
    term = Term(Scaled(GroupL21(axis=1), torch.tensor([0.3, 0.5], dtype=F64)), Gradient(), torch.ones(2, dtype=F64))
    change = closing(term, torch.zeros_like(Gradient()(pulled)), pulled)
    assert change is not None
    field = -change
    for i in range(2):
        least = np.linalg.lstsq(columns.numpy(), pulled[i].flatten().numpy(), rcond=None)[0]
        np.testing.assert_allclose(field[i].flatten().numpy(), least, atol=1e-11)
    spatial = tuple(range(2, pulled.ndim))
    left = pulled - Gradient().adjoint(field)
    torch.testing.assert_close(left, pulled.mean(spatial, keepdim=True).expand_as(pulled), rtol=0, atol=1e-12)
    assert inverse_laplacian(torch.ones_like(pulled)).abs().max() < 1e-12


def test_the_excess_is_where_the_conjugate_becomes_finite() -> None:
    generator = torch.Generator().manual_seed(4)
    p = torch.randn(3, 2, 1, 4, 4, generator=generator, dtype=F64)
    for norm in (GroupL21(axis=1), L1(weight=2.0)):
        function = Scaled(norm, torch.tensor([0.1, 0.2, 9.0], dtype=F64))
        by = excess(function, p).reshape(-1, 1, 1, 1, 1)
        assert torch.isfinite(function.conjugate(p / by)).all()
        outside = function.conjugate(1.0001 * p / by)
        assert torch.isinf(outside[:2]).all()
        assert by[2] == 1


def test_other_terms_have_no_such_field() -> None:
    r = torch.zeros(1, 1, 3, 3, dtype=F64)
    assert closing(Term(NonNegative(), Gradient(), torch.ones(1)), Gradient()(r), r) is None
