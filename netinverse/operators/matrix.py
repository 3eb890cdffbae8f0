"""Linear and affine maps given by one dense matrix, the same for every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.protocols import LinearMap, Operator


@dataclass(frozen=True, eq=False)
class Matrix:
    """K x = W x on flattened samples: (batch, *columns) -> (batch, *rows), weight (rows, columns)."""

    weight: Tensor
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.weight.T).reshape(-1, *self.rows)

    def adjoint(self, y: Tensor) -> Tensor:
        return (y.flatten(1) @ self.weight).reshape(-1, *self.columns)


@dataclass(frozen=True, eq=False)
class MatrixOperator:
    """x -> W x + offset, with offset (*rows)."""

    matrix: Matrix
    offset: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.matrix(x) + self.offset

    def linearise(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        return self(x), self.matrix


def assemble(operator: Operator, x_like: Tensor, chunk: int = 256) -> MatrixOperator:
    """An affine operator as a matrix, from its value at 0 and the adjoint of its derivative at every unit vector.

    ``x_like`` (batch, *shape) gives shape, dtype and device; its values are not used. For an operator that is not affine, the
    matrix is its derivative at 0.
    """
    columns = tuple(x_like.shape[1:])
    with torch.no_grad():
        offset = operator(x_like.new_zeros((1, *columns)))[0].detach()
        rows, count = tuple(offset.shape), offset.numel()
        parts = []
        for start in range(0, count, chunk):
            size = min(chunk, count - start)
            units = torch.zeros(size, count, dtype=offset.dtype, device=offset.device)
            units[torch.arange(size), start + torch.arange(size)] = 1
            _, derivative = operator.linearise(x_like.new_zeros((size, *columns)))
            parts.append(derivative.adjoint(units.reshape(size, *rows)).reshape(size, -1).detach())
        weight = torch.cat(parts) if parts else x_like.new_zeros((0, math.prod(columns)))
    return MatrixOperator(Matrix(weight.contiguous(), rows, columns), offset)
