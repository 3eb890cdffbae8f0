"""Remainders of logarithms and the dilogarithm, without cancellation, in float64."""

from __future__ import annotations

from math import log, pi

import torch
from torch import Tensor

# B_2k / (2k)!, k = 1..: x/2 coth(x/2) = 1 + sum c_k x^(2k).
_BERNOULLI = (
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
    -3617 / 10670622842880000,
    43867 / 5109094217170944000,
)

# Nodes and weights of Gauss-Legendre quadrature on (0, 1), eight points.
_NODES = (0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363)
_WEIGHTS = (0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763)
GAUSS = tuple((0.5 * (1 + s * x), 0.5 * w) for x, w in zip(_NODES, _WEIGHTS, strict=True) for s in (-1, 1))


def _alternating(r: Tensor, weights: list[float]) -> Tensor:
    out = torch.zeros_like(r)
    for w in reversed(weights):
        out = w - r * out
    return out * r.square()


def log_remainder(r: Tensor, log_ratio: Tensor) -> Tensor:
    """r - log(1 + r) >= 0. ``log_ratio`` is log(1 + r), used where |r| >= 1/8."""
    near = r.abs() < 0.125
    return torch.where(near, _alternating(torch.where(near, r, 0.0), [1 / k for k in range(2, 20)]), r - log_ratio)


def relative_entropy(a: Tensor, b: Tensor, r: Tensor, log_b: Tensor) -> Tensor:
    """a log(a/b) - a + b >= 0 with r = a/b - 1 known better than from a and b: b((1 + r)log(1 + r) - r) where |r| < 1/2."""
    series = [1 / (k * (k - 1)) for k in range(2, 20)]
    tiny, near = r.abs() < 0.125, r.abs() < 0.5
    small, middle = torch.where(tiny, r, 0.0), torch.where(near, r, 0.0)
    close = torch.where(tiny, _alternating(small, series), (1 + middle) * torch.log1p(middle) - middle)
    return torch.where(near, b * close, (torch.xlogy(a, a) - a * log_b) - (a - b))


def dilogarithm_series(w: Tensor) -> Tensor:
    """Li2(1 - e^-w) for |w| <= ln 2."""
    square = w.square()
    out = torch.zeros_like(w)
    for k in range(len(_BERNOULLI), 0, -1):
        out = square * (out + _BERNOULLI[k - 1] / (2 * k + 1))
    return w * (1 + out) - 0.25 * square


def dilogarithm_gap(x: Tensor) -> Tensor:
    """pi^2/6 - Li2(e^-x) for x >= 0."""
    near = x < log(2)
    small, large = torch.where(near, x, 0.0), torch.where(near, 1.0, x)
    close = dilogarithm_series(small) - torch.xlogy(small, -torch.expm1(-small))
    return torch.where(near, close, pi**2 / 6 - dilogarithm_series(-torch.log1p(-torch.exp(-large))))


def bose_remainder(x: Tensor) -> Tensor:
    """1/(1 - e^-x) - 1/x for x >= 0: between 1/2 and 1."""
    near = x < 1
    small, large = torch.where(near, x, 0.0), torch.where(near, 1.0, x)
    square = small.square()
    out = torch.zeros_like(small)
    for c in reversed(_BERNOULLI):
        out = c + square * out
    return torch.where(near, 0.5 + small * out, -1 / torch.expm1(-large) - 1 / large)
