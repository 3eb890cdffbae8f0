"""Linear maps: the identity, compositions, and a safe upper bound of the norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.protocols import LinearMap
from netinverse.tensors import inner, norm


@dataclass(frozen=True)
class Identity:
    """K x = x."""

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y


@dataclass(frozen=True)
class LeadingChannels:
    """K x = the first ``kept`` of ``channels`` channels. Shapes: (batch, channels, ...) -> (batch, kept, ...)."""

    kept: int
    channels: int

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, : self.kept]

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.cat([y, y.new_zeros((len(y), self.channels - self.kept, *y.shape[2:]))], 1)


@dataclass(frozen=True)
class Composition:
    """K = outer inner, with adjoint K* = inner* outer*."""

    outer: LinearMap
    inner: LinearMap

    def __call__(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))


def norm_bound(linear_map: LinearMap, x_like: Tensor, seed: int = 0, *, steps: int = 24, failure: float = 1e-6) -> Tensor:
    """An upper bound of ||K||_2 per sample, (batch,), that fails with probability at most ``failure`` over the random start.

    Shapes: x_like (batch, *shape) gives shape, dtype and device of K's argument; its values are not used. K may be another map in
    every sample. Every sample gets the same start, drawn from ``seed``, so none depends on its neighbours.

    ``steps`` Lanczos steps on A = K*K with a start v uniform on the sphere. The next Lanczos vector is p(A) v with p(t) =
    prod_i (t - theta_i)/beta_i, theta_i the Ritz values, and has norm one, so |p(||A||)| |gamma| <= 1 for the component gamma of
    v along the leading eigenvector. With N unknowns, P(|gamma| < d) <= d sqrt(2N/pi); with d = failure * sqrt(pi/(2N)), the root
    of p(t) = 1/d above the largest Ritz value bounds ||A||, however small the spectral gap. A map with at most ``steps`` columns
    or rows is assembled instead, and its norm is exact. Both are enlarged by a multiple of the rounding error; where rounding
    ends the recurrence early (float32 and few distinct singular values), the bound can be a few times the norm.

    Non-finite maps have the bound infinity.
    Hochstenbach, Probabilistic upper bounds for the matrix two-norm, J. Sci. Comput. 57, 2013.
    """
    if not 0.0 < failure < 1.0 or steps < 2:
        raise ValueError(
            f"norm_bound: failure is {failure} and steps is {steps}, but the bound needs a failure probability between 0 and 1 "
            f"and at least 2 Lanczos steps. The defaults are failure=1e-6, steps=24."
        )
    size = math.prod(x_like.shape[1:])
    if x_like.shape[0] == 0 or size == 0:
        return x_like.new_zeros(x_like.shape[0])
    rounding = 1.0 + 10.0 * steps * torch.finfo(x_like.dtype).eps
    with torch.no_grad():
        x = torch.zeros_like(x_like)
        y = linear_map(x).detach()
        if size <= steps:
            squared = _largest_of_columns(linear_map, x)
        elif math.prod(y.shape[1:]) <= steps:
            squared = _largest_of_columns(linear_map.adjoint, torch.zeros_like(y))
        else:
            squared = _ritz_bound(linear_map, x, seed, steps, failure)
        return (squared.sqrt() * rounding).to(x_like.dtype)


def _largest_of_columns(linear_map: Callable[[Tensor], Tensor], x_like: Tensor) -> Tensor:
    """||K||^2 exactly, one column at a time, (batch,) float64."""
    batch, size = x_like.shape[0], math.prod(x_like.shape[1:])
    units = torch.eye(size, dtype=x_like.dtype, device=x_like.device).reshape(size, 1, *x_like.shape[1:])
    if not linear_map(x_like).numel():
        return torch.zeros(batch, dtype=torch.float64, device=x_like.device)
    columns = torch.stack([linear_map(unit.expand(x_like.shape).clone()).reshape(batch, -1) for unit in units], 2).double()
    finite = torch.isfinite(columns).flatten(1).all(1)
    columns = torch.where(finite.reshape(-1, 1, 1), columns, 0.0)
    return torch.where(finite, torch.linalg.matrix_norm(columns, ord=2).square(), math.inf)


def _lanczos(linear_map: LinearMap, x_like: Tensor, seed: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Diagonal, off-diagonal and validity of the Lanczos matrix of K*K, (batch, steps) each, with full reorthogonalisation.

    A sample whose next vector is lost in rounding is finished: its later entries are zero and not valid.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(x_like.shape[1:], generator=generator, dtype=torch.float64)
    v = (start / torch.linalg.vector_norm(start)).to(x_like).expand(x_like.shape)
    eps = torch.finfo(x_like.dtype).eps
    valid = torch.ones(x_like.shape[0], dtype=torch.bool, device=x_like.device)
    scale = x_like.new_zeros(x_like.shape[0])
    basis: list[Tensor] = []
    alphas, betas, valids = [], [], []
    for _ in range(steps):
        basis.append(v.flatten(1))
        w = linear_map.adjoint(linear_map(v.clone())).detach()
        scale = torch.maximum(scale, norm(w))
        alphas.append(inner(v, w).double())
        frame, flat = torch.stack(basis, 1), w.flatten(1)
        for _ in range(2):  # twice is enough
            flat = flat - torch.einsum("bkn,bk->bn", frame, torch.einsum("bkn,bn->bk", frame, flat))
        beta, floor = norm(flat), 10.0 * eps * scale
        valids.append(valid)
        betas.append(torch.where(valid, torch.maximum(beta, floor), 0.0).double())
        valid = valid & ~(beta <= floor)
        v = torch.where(valid[:, None], flat / torch.where(valid, beta, 1.0)[:, None], 0.0).reshape(x_like.shape)
    return torch.stack(alphas, 1), torch.stack(betas, 1), torch.stack(valids, 1)


def _ritz_bound(linear_map: LinearMap, x_like: Tensor, seed: int, steps: int, failure: float) -> Tensor:
    """The root above the largest Ritz value of prod (t - theta_i)/beta_i = 1/d, by bisection on logarithms, (batch,) float64."""
    alpha, beta, valid = _lanczos(linear_map, x_like, seed, steps)
    finite = torch.isfinite(alpha).all(1) & torch.isfinite(beta).all(1)
    alpha, beta = torch.where(finite[:, None], alpha, 0.0), torch.where(finite[:, None], beta, 0.0)
    inside = torch.where(valid[:, 1:], beta[:, :-1], 0.0)
    theta = torch.linalg.eigvalsh(torch.diag_embed(alpha) + torch.diag_embed(inside, 1) + torch.diag_embed(inside, -1))
    largest = theta[:, -1].clamp_min(0.0)
    count = valid.sum(1)
    tiny = torch.finfo(torch.float64).tiny
    component = failure * math.sqrt(math.pi / (2.0 * math.prod(x_like.shape[1:])))
    level = torch.where(valid, beta.clamp_min(tiny).log(), 0.0).sum(1) - math.log(component)
    # (t - largest)^count <= prod (t - theta_i) bounds the root; each finished step put a zero among the Ritz values.
    low, high = torch.zeros_like(largest), (level / count).exp()
    for _ in range(60):
        middle = 0.5 * (low + high)
        logs = (largest - theta.T + middle).clamp_min(tiny).log().sum(0)
        logs = logs - (steps - count) * (largest + middle).clamp_min(tiny).log()
        low, high = torch.where(logs < level, middle, low), torch.where(logs < level, high, middle)
    zero = (largest == 0) & (beta[:, 0] == 0)
    return torch.where(finite, torch.where(zero, 0.0, largest + high), math.inf)
