"""The norm of a bank of filters, bounded for pictures of every size at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FINENESS = 16


def squared_norm_bound(filters: Tensor) -> Tensor:
    """sup_w lambda_max(sum_j conj(f_j(w)) f_j(w)^T) >= ||L||^2, at most 4 % above it; a number, differentiable in the filters.

    Shapes: filters (features, channels, k, k), the weight of a ``conv2d`` L at stride 1. It holds for pictures of any size and
    any zero padding, whose L are parts of the one on the infinite plane, of which the supremum over all frequencies w is the
    squared norm. The eigenvalue is that of a trigonometric polynomial of degree k - 1 along each axis: its maximum over
    n = 16 (k - 1) frequencies an axis, divided by cos(pi (k - 1)/n) for each axis, is an upper bound.
    Ehlich & Zeller, Schwankung von Polynomen zwischen Gitterpunkten, Math. Z. 86, 1964.
    """
    degree = filters.shape[-1] - 1
    count = max(1, _FINENESS * degree)
    responses = torch.fft.rfft2(filters, s=(count, count)).flatten(2)  # a real filter: half of the frequencies tell the rest
    if filters.shape[1] == 1:
        peak = (responses.real.square() + responses.imag.square()).sum((0, 1)).amax()
    else:
        peak = torch.linalg.eigvalsh(torch.einsum("fcw,fdw->wcd", responses.conj(), responses))[:, -1].amax()
    bound: Tensor = peak / math.cos(math.pi * degree / count) ** 2
    return bound
