"""Golub-Kahan bidiagonalisation against dense singular value decompositions."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from netinverse.operators.bidiagonal import bidiagonalise


@dataclass(frozen=True)
class Matrices:
    """A matrix for each sample."""

    matrices: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return (self.matrices @ x[:, :, None])[:, :, 0]

    def adjoint(self, y: Tensor) -> Tensor:
        return (self.matrices.mT @ y[:, :, None])[:, :, 0]


def drawn(rows: int, columns: int, rank: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(rows + columns)
    a = torch.randn(3, rows, columns, generator=generator, dtype=torch.float64)
    if rank is not None:
        left, values, right = torch.linalg.svd(a, full_matrices=False)
        values[:, rank:] = 0.0
        a = left * values[:, None] @ right
    return a


MATRICES = {
    "tall": drawn(12, 7),
    "wide": drawn(6, 15),
    "of rank 4": drawn(9, 9, 4),
    "identity": torch.eye(8, dtype=torch.float64).expand(3, 8, 8),
    "two values": torch.diag(torch.tensor([3.0] * 5 + [0.5] * 3, dtype=torch.float64)).expand(3, 8, 8),
    "zero": torch.zeros(3, 4, 6, dtype=torch.float64),
    "mixed": torch.stack([torch.eye(6, dtype=torch.float64), drawn(6, 6)[0], torch.zeros(6, 6, dtype=torch.float64)]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_all_singular_values_with_their_multiplicities(name: str) -> None:
    a = MATRICES[name]
    x, y = a.new_zeros(3, a.shape[2]), a.new_zeros(3, a.shape[1])
    found = bidiagonalise(Matrices(a), x, y, 100)
    values, errors = found.singular_values()
    assert found.complete
    torch.testing.assert_close(values, torch.linalg.svdvals(a), rtol=1e-13, atol=1e-13)
    assert (errors <= 1e-12).all()
    for frame in (found.inputs, found.outputs):
        unit = torch.eye(frame.shape[1], dtype=torch.float64).expand(3, -1, -1)
        torch.testing.assert_close(frame @ frame.mT, unit, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", MATRICES)
def test_visible_part_is_the_projection_onto_the_row_space(name: str) -> None:
    a = MATRICES[name]
    x = torch.randn(3, a.shape[2], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = bidiagonalise(Matrices(a), x, a.new_zeros(3, a.shape[1]), 100)
    expected = (torch.linalg.pinv(a, rtol=1e-10) @ a @ x[:, :, None])[:, :, 0]
    torch.testing.assert_close(found.visible(x, torch.full((3,), 1e-10).double()), expected, rtol=1e-10, atol=1e-12)


def test_unfinished_values_bound_the_true_ones() -> None:
    a = drawn(60, 40)
    found = bidiagonalise(Matrices(a), a.new_zeros(3, 40), a.new_zeros(3, 60), 12)
    values, errors = found.singular_values()
    exact = torch.linalg.svdvals(a)
    assert not found.complete and values.shape == (3, 12)
    assert (values <= exact[:, :12] + 1e-12).all() and (values.flip(1) >= exact.flip(1)[:, :12] - 1e-12).all()
    nearest = (values[:, :, None] - exact[:, None, :]).abs().amin(2)
    assert (nearest <= errors + 1e-12).all()


def test_samples_are_independent() -> None:
    a = MATRICES["mixed"]
    x = a.new_zeros(3, 6)
    values, _ = bidiagonalise(Matrices(a), x, x, 10).singular_values()
    for i in range(3):
        alone, _ = bidiagonalise(Matrices(a[i : i + 1]), x[:1], x[:1], 10).singular_values()
        torch.testing.assert_close(alone[0], values[i], rtol=1e-12, atol=1e-14)
