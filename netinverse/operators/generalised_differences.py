"""First differences of an image less a field, and the symmetrised differences of the field: the map of generalised variation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from netinverse.operators.differences import Gradient


@dataclass(frozen=True)
class GeneralisedDifferences:
    """(x, w) -> (s D x - w, weight E w), D forward differences, E w = (D w + (D w)^T)/2, s = ``image_scale``.

    Shapes: x and the d fields w are stacked along the channels, (batch, (1 + d) channels, *spatial); the image has groups of d^2
    entries along axis 1, (batch, d^2, 2 channels, *spatial): the first half of the channels holds D x - w in its first d
    entries, the second half the matrix E w. A difference that would cross the border is left out, and so is the entry of w that
    would stand for it: the image vanishes at an affine x with w = D x.
    """

    weight: float
    image_scale: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        d = x.ndim - 2
        channels = x.shape[1] // (1 + d)
        out = x.new_zeros((x.shape[0], d * d, 2 * channels, *x.shape[2:]))
        field = without_last(_split(x[:, channels:], d, channels))
        out[:, :d, :channels] = self.image_scale * Gradient()(x[:, :channels]) - field
        out[:, :, channels:] = self.weight * symmetrised(field).flatten(1, 2)
        return out

    def adjoint(self, y: Tensor) -> Tensor:
        d = math.isqrt(y.shape[1])
        first, second = y[:, :d].chunk(2, 2)[0], _split(y.chunk(2, 2)[1], d, d)
        field = without_last(self.weight * symmetrised_adjoint(second) - first)
        return torch.cat([self.image_scale * Gradient().adjoint(first), field.flatten(1, 2)], 1)

    def closed(self, image: Tensor) -> Tensor:
        """The dual point with D x's part weight E^T q, q the part of E w: the adjoint of it vanishes in the field."""
        d = math.isqrt(image.shape[1])
        out = image.clone()
        channels = image.shape[2] // 2
        second = _split(image[:, :, channels:], d, d)
        out[:, :d, :channels] = without_last(self.weight * symmetrised_adjoint(second))
        out[:, d:, :channels] = 0.0
        return out

    def norm_bound(self, shape: tuple[int, ...]) -> float:
        """The norm of the matrix of the norms of the blocks, for images (channels, *spatial); E is no longer than D."""
        size = Gradient.norm_bound(shape)
        blocks = torch.tensor([[size, 1.0], [0.0, self.weight * size]], dtype=torch.float64)
        return float(torch.linalg.matrix_norm(blocks, 2)) * (1 + 1e-14)


def _split(x: Tensor, *sizes: int) -> Tensor:
    """Axis 1 as axes of these sizes."""
    return x.reshape(len(x), *sizes, *x.shape[2:])


def without_last(field: Tensor) -> Tensor:
    """The field with component i zero at the last pixel of axis i. Shapes: (batch, d, channels, *spatial)."""
    return field * _masks(tuple(field.shape[3:]), field.dtype, field.device)[0]


def symmetrised(field: Tensor) -> Tensor:
    """(D_i w_j + D_j w_i)/2, (batch, d, d, channels, *spatial), of a field as ``without_last`` leaves it."""
    d, channels = field.shape[1:3]
    jacobian = _split(Gradient()(field.flatten(1, 2)).flatten(1, 2), d, d, channels)
    return (jacobian + jacobian.transpose(1, 2)) * _masks(tuple(field.shape[3:]), field.dtype, field.device)[1]


def symmetrised_adjoint(matrices: Tensor) -> Tensor:
    d, channels = matrices.shape[2:4]
    jacobian = (matrices + matrices.transpose(1, 2)) * _masks(tuple(matrices.shape[4:]), matrices.dtype, matrices.device)[1]
    return _split(Gradient().adjoint(jacobian.flatten(2, 3)), d, channels)


@lru_cache(maxsize=32)
def _masks(spatial: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """1 where a component of a field is free, (d, 1, *spatial), and 1/2 where an entry of E w crosses no border. Read-only."""
    d = len(spatial)
    free = torch.ones((d, 1, *spatial), dtype=dtype, device=device)
    inside = torch.full((d, d, 1, *spatial), 0.5, dtype=dtype, device=device)
    for i in range(d):
        free[i].select(1 + i, -1).zero_()
        if spatial[i] > 1:
            inside[i, i].select(1 + i, -2).zero_()
    return free, inside
