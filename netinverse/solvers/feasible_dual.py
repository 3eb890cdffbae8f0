"""A dual point without a residual: the field of a total variation absorbs K^T q, and all duals shrink until it fits its ball."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from netinverse.operators.differences import Gradient
from netinverse.operators.generalised_differences import GeneralisedDifferences
from netinverse.problems import Term
from netinverse.protocols import ProximalFunction
from netinverse.prox import L1, GroupL21, Scaled
from netinverse.tensors import per_sample


def closing(term: Term, q: Tensor, pulled: Tensor) -> Tensor | None:
    """What to add to the dual q of the term so that less is left of ``pulled``; None where the term is no total variation.

    Total variation: the smallest field p with K^T p = -pulled up to the mean of each channel, p = -K (K^T K)^+ pulled. The
    generalised one: what makes the part of K^T q in the auxiliary field vanish, on which there is no bound.
    """
    if _ball(term.function) is None:
        return None
    if isinstance(term.map, Gradient):
        return -term.map(inverse_laplacian(pulled))
    return term.map.closed(q) - q if isinstance(term.map, GeneralisedDifferences) else None


def excess(function: ProximalFunction, p: Tensor) -> Tensor:
    """The least s >= 1 with p/s in the ball dom f*, (batch,), for the norm f of a total variation; inf where none is."""
    ball = _ball(function)
    assert ball is not None
    norm, weight = ball
    size = p.square().sum(norm.axis).sqrt() if isinstance(norm, GroupL21) else p.abs()
    largest = size.flatten(1).amax(1) if p.numel() else p.new_zeros(p.shape[0])
    radius = norm.weight * torch.as_tensor(weight, dtype=p.dtype, device=p.device)
    return torch.where(largest > radius, largest / radius, torch.ones_like(largest))


def _ball(function: ProximalFunction) -> tuple[L1 | GroupL21, float | Tensor] | None:
    if isinstance(function, Scaled) and isinstance(function.function, L1 | GroupL21):
        return function.function, function.weight
    return (function, 1.0) if isinstance(function, L1 | GroupL21) else None


def inverse_laplacian(x: Tensor, shift: float = 0.0) -> Tensor:
    """(K^T K + shift)^+ x for K the forward differences with Neumann boundary, by cosine transforms.

    Without a shift the mean of a channel maps to 0. Shapes: (batch, channels, *spatial). The transform along an axis is a
    product with an orthogonal matrix: n^2 per line, which up to a few hundred pixels is faster than an FFT, and the same on
    every device.
    """
    axes = range(2, x.ndim)
    for axis in axes:
        x = _along(_cosines(x.shape[axis], x.dtype, x.device).T, x, axis)
    eigenvalues = _eigenvalues(tuple(x.shape[2:]), x.dtype, x.device) + shift
    x = torch.where(eigenvalues > 0, x / torch.where(eigenvalues > 0, eigenvalues, 1.0), 0.0)
    for axis in axes:
        x = _along(_cosines(x.shape[axis], x.dtype, x.device), x, axis)
    return x


def _along(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    return (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)


@lru_cache(maxsize=32)
def _cosines(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Column k is cos(pi (i + 1/2) k / n), normalised: the eigenvectors of the second differences. Read-only."""
    i = torch.arange(n, dtype=torch.float64)
    columns = torch.cos(math.pi * (i[:, None] + 0.5) * i / n)
    normalised: Tensor = columns / torch.linalg.vector_norm(columns, dim=0)
    return normalised.to(dtype=dtype, device=device)


@lru_cache(maxsize=32)
def _eigenvalues(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Of K^T K, by frequencies along the axes. Read-only."""
    values = torch.zeros((), dtype=torch.float64)
    for n in shape:
        values = values.unsqueeze(-1) + 2 - 2 * torch.cos(math.pi * torch.arange(n, dtype=torch.float64) / n)
    return values.to(dtype=dtype, device=device)


def shrink(duals: tuple[Tensor, ...], by: Tensor) -> tuple[Tensor, ...]:
    """Every dual divided by ``by``, (batch,)."""
    return tuple(q / per_sample(by, q) for q in duals)
