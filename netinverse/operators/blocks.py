"""Inputs cut into groups of neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """(batch, n, ...) -> (batch, n/size, size, ...): runs of ``size`` neighbours along the first axis. An orthonormal map."""

    size: int

    def __call__(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1] // self.size, self.size, *x.shape[2:])

    def adjoint(self, y: Tensor) -> Tensor:
        return y.flatten(1, 2)
