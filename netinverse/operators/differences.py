"""Forward differences and their exact adjoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Gradient:
    """(K x)_i = x shifted by one pixel along spatial axis i, minus x; zero at the last pixel (Neumann); no grid scaling.

    Shapes: (batch, channels, *spatial) -> (batch, d, channels, *spatial), d = 1, 2 or 3 spatial axes. The adjoint is minus a
    divergence, exact to rounding.
    Chambolle, J. Math. Imaging Vis. 20, 2004.
    """

    def __call__(self, x: Tensor) -> Tensor:
        d = _spatial_axes(tuple(x.shape[1:]))
        out = x.new_zeros((x.shape[0], d, *x.shape[1:]))
        for i in range(d):
            n = x.shape[2 + i]
            if n > 1:
                out[:, i].narrow(2 + i, 0, n - 1).copy_(x.narrow(2 + i, 1, n - 1) - x.narrow(2 + i, 0, n - 1))
        return out

    def adjoint(self, y: Tensor) -> Tensor:
        out = y.new_zeros((y.shape[0], *y.shape[2:]))
        for i in range(y.shape[1]):
            n = y.shape[3 + i]
            if n > 1:
                inside = y[:, i].narrow(2 + i, 0, n - 1)
                out.narrow(2 + i, 1, n - 1).add_(inside)
                out.narrow(2 + i, 0, n - 1).sub_(inside)
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
