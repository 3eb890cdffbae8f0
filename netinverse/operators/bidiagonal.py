"""Golub-Kahan bidiagonalisation, sample by sample: singular values and vectors of a map that is only applied."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.protocols import LinearMap
from netinverse.tensors import norm


@dataclass(frozen=True)
class Bidiagonal:
    """K V = U B with B upper bidiagonal, V and U orthonormal; the roles of K and K^T are exchanged where K has fewer rows.

    diagonal, above: (batch, steps), the last entry of ``above`` being what couples to the next vector. inputs, outputs: (batch,
    steps, size), orthonormal vectors in the space of K's arguments and of its values, flattened. ``complete``: the smaller space
    is exhausted, so that the singular values of B are all those of K.
    """

    diagonal: Tensor
    above: Tensor
    inputs: Tensor
    outputs: Tensor
    exchanged: bool
    complete: bool

    def singular_values(self) -> tuple[Tensor, Tensor]:
        """(values, errors), (batch, steps) each, descending: every value is within its error of a singular value of K.

        The j-th largest is never above that of K, the j-th smallest never below it.
        """
        left, values, _ = self._factors()
        return values, self.above[:, -1:].abs() * left[:, -1, :].abs()

    def visible(self, x: Tensor, tolerance: Tensor) -> Tensor:
        """The projection of x onto the right singular vectors of K with a value above ``tolerance``, (batch,) -> shape of x."""
        left, values, right = self._factors()
        small = left if self.exchanged else right.mT
        vectors = small.mT @ self.inputs
        flat = x.flatten(1)[:, :, None]
        seen = torch.where(values[:, :, None] > tolerance[:, None, None], vectors @ flat, 0.0)
        return (vectors.mT @ seen).reshape(x.shape)

    def weakest_output(self, tolerance: Tensor) -> Tensor:
        """K's left singular vector, flattened, of its smallest value above ``tolerance``, (batch,); zero where there is none."""
        left, values, right = self._factors()
        vectors = (right if self.exchanged else left.mT) @ self.outputs
        above = values > tolerance[:, None]
        index = (above.sum(1) - 1).clamp(min=0)
        chosen = vectors[torch.arange(len(index), device=index.device), index]
        return torch.where(above.any(1)[:, None], chosen, 0.0)

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        b = torch.diag_embed(self.diagonal) + torch.diag_embed(self.above[:, :-1], 1)
        left, values, right = torch.linalg.svd(b)
        return left, values, right


def bidiagonalise(linear_map: LinearMap, x_like: Tensor, y_like: Tensor, max_steps: int, seed: int = 0) -> Bidiagonal:
    """min(rows, columns, max_steps) steps with full reorthogonalisation, from a random start that is the same in every sample.

    Shapes: x_like (batch, *), y_like (batch, *), like arguments and values of K. Where the recurrence ends early, as it does for
    rank-deficient maps and multiple singular values, it goes on with a random vector orthogonal to all before, so that
    multiplicities are found. Backward stable: singular values are off by a few eps ||K||.
    Golub & Kahan, SIAM J. Numer. Anal. 2, 1965; reorthogonalisation: Larsen, DAIMI PB-357, 1998.
    """
    columns, rows = math.prod(x_like.shape[1:]), math.prod(y_like.shape[1:])
    exchanged = rows < columns
    steps = max(1, min(rows, columns, max_steps))

    def forward(v: Tensor) -> Tensor:
        out = linear_map.adjoint(v.reshape(y_like.shape)) if exchanged else linear_map(v.reshape(x_like.shape))
        return out.detach().flatten(1)

    def backward(u: Tensor) -> Tensor:
        out = linear_map(u.reshape(x_like.shape)) if exchanged else linear_map.adjoint(u.reshape(y_like.shape))
        return out.detach().flatten(1)

    generator = torch.Generator().manual_seed(seed)
    vs, us = _Frame.empty(y_like if exchanged else x_like, steps), _Frame.empty(x_like if exchanged else y_like, steps)
    scale = torch.zeros_like(norm(x_like))
    diagonal, above = [], []
    _, v = vs.extend(torch.zeros_like(vs.vectors[:, 0]), scale, generator)
    for _ in range(steps):
        scale, alpha, u = _next(us, forward(v), scale, generator)
        diagonal.append(alpha)
        w = backward(u)
        if vs.count == steps:
            above.append(norm(vs.orthogonal(w)))
        else:
            scale, beta, v = _next(vs, w, scale, generator)
            above.append(beta)
    small, large = vs.vectors, us.vectors
    inputs, outputs = (large, small) if exchanged else (small, large)
    done = steps == min(rows, columns)
    return Bidiagonal(torch.stack(diagonal, 1), torch.stack(above, 1), inputs, outputs, exchanged, done)


def _next(frame: _Frame, w: Tensor, scale: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """What is left of w beside the frame: its length, and the new vector of the frame."""
    scale = torch.maximum(scale, norm(w))
    length, vector = frame.extend(w, scale, generator)
    return scale, length, vector


class _Frame:
    """Orthonormal vectors of every sample, (batch, steps, size), the first ``count`` of which are set."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors, self.count = vectors, 0

    @classmethod
    def empty(cls, like: Tensor, steps: int) -> _Frame:
        return cls(like.new_zeros((like.shape[0], steps, math.prod(like.shape[1:]))))

    def orthogonal(self, w: Tensor) -> Tensor:
        """w without its components along the frame; twice is enough."""
        known = self.vectors[:, : self.count]
        for _ in range(2):
            w = w - (known.mT @ (known @ w[:, :, None]))[:, :, 0]
        return w

    def extend(self, w: Tensor, scale: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Add w's orthogonal part; where rounding is all that is left of it, length 0 and a random direction."""
        w = self.orthogonal(w)
        length = norm(w)
        lost = length <= 10 * torch.finfo(w.dtype).eps * scale
        if lost.any():
            drawn = torch.randn(w.shape[1:], generator=generator, dtype=torch.float64).to(w).expand_as(w)
            drawn = self.orthogonal(drawn / norm(drawn)[:, None])
            w = torch.where(lost[:, None], self.orthogonal(drawn / norm(drawn)[:, None]), w)
        vector = w / norm(w)[:, None]
        self.vectors[:, self.count] = vector
        self.count += 1
        return torch.where(lost, torch.zeros_like(length), length), vector
