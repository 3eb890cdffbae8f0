"""First differences of an image less a field, and the symmetrised differences of the field: the map of generalised variation."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    field = field.clone()
    for i in range(field.shape[1]):
        field[:, i].select(2 + i, -1).zero_()
    return field


def symmetrised(field: Tensor) -> Tensor:
    """(D_i w_j + D_j w_i)/2, (batch, d, d, channels, *spatial), of a field as ``without_last`` leaves it."""
    jacobian = torch.stack([Gradient()(field[:, j]) for j in range(field.shape[1])], 2)
    return _inside(0.5 * (jacobian + jacobian.transpose(1, 2)))


def symmetrised_adjoint(matrices: Tensor) -> Tensor:
    jacobian = _inside(0.5 * (matrices + matrices.transpose(1, 2)))
    return torch.stack([Gradient().adjoint(jacobian[:, :, j]) for j in range(matrices.shape[1])], 1)


def _inside(matrices: Tensor) -> Tensor:
    """Zero where D_i w_i would cross the border, at the last pixel but one."""
    for i in range(matrices.shape[1]):
        if matrices.shape[4 + i] > 1:
            matrices[:, i, i].select(2 + i, -2).zero_()
    return matrices
