"""Forward differences and their exact adjoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gradient:
    """(K x)_i = x shifted by one pixel along spatial axis i, minus x; zero at the last pixel (Neumann); no grid scaling.

    Shapes: (batch, channels, *spatial) -> (batch, d, channels, *spatial), d = 1, 2 or 3 spatial axes. The adjoint is minus a
    divergence, exact to rounding.
    Chambolle, J. Math. Imaging Vis. 20, 2004.
    """

    def __call__(self, x: Tensor) -> Tensor:
        _spatial_axes(tuple(x.shape[1:]))
        return self.rows(x, 0, x.shape[2])

    def adjoint(self, y: Tensor) -> Tensor:
        return self.adjoint_rows(y, 0, y.shape[3])

    def rows(self, x: Tensor, first: int, last: int) -> Tensor:
        """K x at the rows ``first`` <= i < ``last`` of the first spatial axis; of x, row ``last`` is read as well."""
        here = x[:, :, first:last]
        out = x.new_empty((x.shape[0], x.ndim - 2, *here.shape[1:]))
        inside = max(min(last, x.shape[2] - 1) - first, 0)
        torch.sub(x[:, :, first + 1 : first + 1 + inside], here[:, :, :inside], out=out[:, 0, :, :inside])
        out[:, 0, :, inside:] = 0
        for i in range(1, x.ndim - 2):
            n = max(x.shape[2 + i] - 1, 0)
            torch.sub(here.narrow(2 + i, x.shape[2 + i] - n, n), here.narrow(2 + i, 0, n), out=out[:, i].narrow(2 + i, 0, n))
            out[:, i].narrow(2 + i, n, x.shape[2 + i] - n).zero_()
        return out

    def adjoint_rows(self, y: Tensor, first: int, last: int) -> Tensor:
        """K^T y at the rows ``first`` <= i < ``last``; of y, row ``first`` - 1 is read as well."""
        here = y[:, :, :, first:last]
        out = -here[:, 0]
        out[:, :, max(y.shape[3] - 1 - first, 0) :] = 0
        above = max(first, 1)
        out[:, :, above - first :].add_(y[:, 0, :, above - 1 : max(last, above) - 1])
        for i in range(1, y.shape[1]):
            n = y.shape[3 + i]
            if n > 1:
                along = here[:, i].narrow(2 + i, 0, n - 1)
                out.narrow(2 + i, 1, n - 1).add_(along)
                out.narrow(2 + i, 0, n - 1).sub_(along)
        return out

    @staticmethod
    def norm_bound(shape: tuple[int, ...]) -> float:
        """sqrt(sum_i 4 sin^2(pi (n_i - 1)/(2 n_i))), which is ||K||, for inputs (channels, *spatial); 1 where K = 0.

        Never zero, so that it can be divided by, and enlarged by a few units in the last place.
        """
        _spatial_axes(shape)
        squared = sum(4 * math.sin(math.pi * (n - 1) / (2 * n)) ** 2 for n in shape[1:] if n > 0)
        return math.sqrt(squared) * (1 + 1e-14) if squared > 0 else 1.0


def _spatial_axes(shape: tuple[int, ...]) -> int:
    d = len(shape) - 1
    if not 1 <= d <= 3:
        raise ValueError(
            f"Gradient: one sample has shape {shape}, but differences are taken along 1, 2 or 3 spatial axes that "
            f"follow a channel axis. "
            f"Reshape the input to (channels, length), (channels, height, width) or (channels, depth, height, width)."
        )
    return d
