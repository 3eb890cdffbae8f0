"""Layers whose singular values are confined by how their weight is written, in training too."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netinverse.checks import require_number
from netinverse.layers.filters import L, matrices, overlap, require_layer

MARGIN = 0.01
"""The share of the interval that the first singular values keep from its ends, where the parametrisation is flat."""


def parseval(layer: L, scale: float = 1.0) -> L:
    """W = scale Q, Q^T Q = I or Q Q^T = I: all singular values of the weight equal ``scale``, through all of training.

    The layer itself, an nn.Linear or a convolution, with its weight parametrised; it begins at the matrix of this kind nearest
    to its weight. Q is the factor of a QR decomposition of a free matrix, which keeps Q orthonormal to rounding and is trained
    many times faster than torch.nn.utils.parametrizations.orthogonal. At least as many outputs as inputs: an isometry, up to
    ``scale``; fewer: ||W x|| is scale times the norm of the component of x that the layer sees.

    Convolutions: Q is the matrix of the filters, a row each, and W = scale Q/sqrt(N), N = ``overlap(layer)``. The operator norm
    is at most ``scale`` for inputs of every size, and equal to all singular values where windows do not overlap and fill the
    input. Raises TypeError for other layers, ValueError for a scale that is not positive and a weight parametrised already.
    """
    require_number("parseval", "scale", scale, "The default is 1.")
    layer = require_layer("parseval", layer)
    height = scale / overlap(layer) ** 0.5
    parametrize.register_parametrization(layer, "weight", Parseval(height, getattr(layer, "groups", 1)))
    return layer


def spectrally_bounded(layer: L, smallest: float = 0.5, largest: float = 2.0) -> L:
    """W = Q P, Q orthonormal, smallest I <= P <= largest I: the singular values stay in an interval, through all of training.

    The layer itself, with its weight parametrised. P = smallest I + (largest - smallest)(I + L L^T)^{-1}, Q as in ``parseval``,
    with free L; every matrix with singular values in (smallest, largest] is one of these, and W is smooth in its parameters,
    unlike a weight whose singular values are cut. It begins at the nearest one with singular values a little inside.

    Linear layers: the singular values of the weight, exactly. Convolutions: those of the matrix of filters lie in
    [smallest, largest]/sqrt(N), N = ``overlap(layer)``. The operator norm is therefore at most ``largest``, for inputs of every
    size. From below, ||A x|| >= smallest sqrt(n/N) ||x|| with n the least number of windows that an entry lies in, if each group
    has at least as many filters as their entries, and nothing in general otherwise: a blur has one filter, of norm one.

    Raises TypeError for other layers, ValueError unless 0 <= smallest < largest and for a weight parametrised already.
    """
    for name, value in (("smallest", smallest), ("largest", largest)):
        if value != 0 or name == "largest":
            require_number("spectrally_bounded", name, value, "The defaults are 0.5 and 2.")
    if smallest >= largest:
        raise ValueError(
            f"spectrally_bounded: smallest is {smallest} and largest is {largest}, but singular values are confined to an "
            f"interval, smallest < largest. For equal ones write parseval(layer, scale={largest})."
        )
    layer = require_layer("spectrally_bounded", layer)
    unit = overlap(layer) ** -0.5
    interval = SpectralInterval(unit * smallest, unit * largest, getattr(layer, "groups", 1))
    parametrize.register_parametrization(layer, "weight", interval)
    return layer


class Parseval(nn.Module):
    """X -> scale qf(X) for each group; qf(X) is the orthonormal factor of X = QR with a positive diagonal, or of X^T."""

    def __init__(self, scale: float, groups: int = 1) -> None:
        super().__init__()
        self.scale, self.groups = scale, groups

    def forward(self, free: Tensor) -> Tensor:
        x = matrices(free, self.groups)
        q = _orthonormal(x if x.shape[1] >= x.shape[2] else x.mT)
        weight: Tensor = self.scale * (q if x.shape[1] >= x.shape[2] else q.mT)
        return weight.reshape(free.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The orthonormal matrix nearest to the weight, which is its own factor."""
        u, _, vh = torch.linalg.svd(matrices(weight.double(), self.groups), full_matrices=False)
        nearest: Tensor = u @ vh
        return nearest.reshape(weight.shape).to(weight.dtype)

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}, groups={self.groups}"


class SpectralInterval(nn.Module):
    """X, L -> qf(X) P for each group, P = smallest I + (largest - smallest)(I + L L^T)^{-1}; P qf(X^T)^T where X is wide."""

    def __init__(self, smallest: float, largest: float, groups: int = 1) -> None:
        super().__init__()
        self.smallest, self.largest, self.groups = smallest, largest, groups

    def forward(self, free: Tensor, inner: Tensor) -> Tensor:
        x = matrices(free, self.groups)
        q = _orthonormal(x if x.shape[1] >= x.shape[2] else x.mT)
        identity = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
        share = torch.linalg.inv(identity + inner @ inner.mT)
        w: Tensor = q @ (self.smallest * identity + (self.largest - self.smallest) * share)
        return (w if x.shape[1] >= x.shape[2] else w.mT).reshape(free.shape)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The polar decomposition of the weight, its singular values moved inside the interval."""
        x = matrices(weight.double(), self.groups)
        u, s, vh = torch.linalg.svd(x if x.shape[1] >= x.shape[2] else x.mT, full_matrices=False)
        share = ((s - self.smallest) / (self.largest - self.smallest)).clamp(MARGIN, 1 - MARGIN)
        inner = vh.mT * (1 / share - 1).sqrt()[:, None] @ vh
        q = u @ vh
        free = q if x.shape[1] >= x.shape[2] else q.mT
        return free.reshape(weight.shape).to(weight.dtype), inner.to(weight.dtype)

    def extra_repr(self) -> str:
        return f"smallest={self.smallest:g}, largest={self.largest:g}, groups={self.groups}"


def _orthonormal(x: Tensor) -> Tensor:
    """Q of X = QR with a positive diagonal of R; (groups, m, n), m >= n. An orthonormal X is its own Q."""
    q, r = torch.linalg.qr(x)
    signs = 1 - 2 * (r.diagonal(dim1=-2, dim2=-1) < 0).to(q.dtype)
    oriented: Tensor = q * signs[:, None]
    return oriented
