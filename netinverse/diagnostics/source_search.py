"""The search for a source element: min over v and p in P of 1/2||K^T v - A^T p||^2, and the shortest such v."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.protocols import LinearMap
from netinverse.tensors import choose, inner, norm, per_sample

LOOK_EVERY = 50
STATIONARY = 1e-6


@dataclass(frozen=True)
class Pair:
    """v, and p in P."""

    v: Tensor
    p: Tensor


@dataclass(frozen=True)
class Range:
    """The sets whose distance is sought: {K^T v} and {A^T p : p in P}, K and A with upper bounds of their norms.

    ``project`` is the projection onto P. ``size``: a norm of A^T P per sample, in whose units distances are measured.
    """

    forward: LinearMap
    forward_norm: Tensor
    transform: LinearMap
    transform_norm: float
    project: Callable[[Tensor], Tensor]
    size: Tensor

    def defect(self, pair: Pair) -> Tensor:
        """K^T v - A^T p."""
        return self.forward.adjoint(pair.v) - self.transform.adjoint(pair.p)

    def distance(self, pair: Pair) -> Tensor:
        """||K^T v - A^T p||, in units of ``size``."""
        return norm(self.defect(pair)) / self.size


def nearest(sets: Range, start: Pair, tolerance: float, max_iterations: int) -> Pair:
    """A nearest pair of the two sets: accelerated projected gradient on 1/2||K^T v - A^T p||^2, jointly in v and p.

    A sample ends at distance ``tolerance``, or where a step promises less than 1e-6 of the defect that is left. With p fixed
    this is v+ = v - t K (K^T v - p) of "Trust your source"; its map K(prox_J(x + K^T v) - x) for J = ||.||_1 is the same
    where x is scaled until the shrinkage leaves its support alone.
    Benning, Bubba, Ratti & Riccio, IMA J. Appl. Math. 2024.
    """
    zero = torch.zeros_like(sets.forward_norm)
    walk = final = _Walk.at(start, zero)
    running = torch.ones_like(zero, dtype=torch.bool)
    for iteration in range(1, max_iterations + 1):
        walk = _advance(sets, walk, zero, torch.zeros(()).to(start.v))
        if iteration % LOOK_EVERY == 0 or iteration == max_iterations:
            final = choose(running, walk, final)
            left = norm(sets.defect(walk.now))
            running = running & (left > tolerance * sets.size) & (walk.promise > STATIONARY * left)
            if not running.any():
                break
    return final.now


def shortest(sets: Range, start: Pair, tolerance: float, max_iterations: int, share: float = 0.05) -> Pair:
    """A pair at distance ``tolerance`` with v as short as it can be: min 1/2||v||^2 subject to K^T v = A^T p, p in P.

    Method of multipliers: min (e/2)||v||^2 + 1/2||K^T v - A^T p + h||^2 by the steps of ``nearest``, e = ``share`` ||K||^2, and
    h <- h + K^T v - A^T p after every fifty of them.
    Bertsekas, Constrained Optimization and Lagrange Multiplier Methods, 1982.
    """
    weight = share * sets.forward_norm.square()
    multiplier = torch.zeros_like(sets.defect(start))
    walk = final = _Walk.at(start, weight)
    running = torch.ones_like(weight, dtype=torch.bool)
    for iteration in range(1, max_iterations + 1):
        walk = _advance(sets, walk, weight, multiplier)
        if iteration % LOOK_EVERY == 0 or iteration == max_iterations:
            final = choose(running, walk, final)
            defect = sets.defect(walk.now)
            multiplier = multiplier + defect
            running = running & (norm(defect) > tolerance * sets.size)
            if not running.any():
                break
    return final.now


def solved(sets: Range, p: Tensor, tolerance: float, max_iterations: int) -> Pair:
    """p, and the shortest v of those nearest to K^T v = A^T p, by conjugate gradients on the normal equations.

    Where p is the only point of P, as for differentiable regularisers, nothing is left to be sought, and this takes the root of
    what ``nearest`` takes behind an ill-conditioned K. A sample ends at distance ``tolerance``, or where K of the defect is zero
    to rounding. Hestenes & Stiefel, J. Res. Nat. Bur. Standards 49, 1952 (CGLS).
    """
    defect = sets.transform.adjoint(p)
    gradient = sets.forward(defect)
    v, direction, size = torch.zeros_like(gradient), gradient, inner(gradient, gradient)
    least = torch.finfo(v.dtype).eps * sets.forward_norm * norm(defect)
    for iteration in range(max_iterations):
        running = (norm(defect) > tolerance * sets.size) & (size.sqrt() > least)
        if iteration % LOOK_EVERY == 0 and not bool(running.any()):
            break
        image = sets.forward.adjoint(direction)
        steepness = inner(image, image)
        step = torch.where(running & (steepness > 0), size / torch.where(steepness > 0, steepness, 1.0), 0.0)
        v = v + per_sample(step, v) * direction
        defect = defect - per_sample(step, defect) * image
        gradient = sets.forward(defect)
        before, size = size, torch.where(running, inner(gradient, gradient), size)
        turned = gradient + per_sample(size / torch.where(before > 0, before, 1.0), direction) * direction
        direction = choose(running, turned, direction)
    return Pair(v, p)


@dataclass(frozen=True)
class _Walk:
    """The pair, the extrapolated one, Nesterov's t, and the length of the last step in units of the defect."""

    now: Pair
    ahead: Pair
    momentum: Tensor
    promise: Tensor

    @classmethod
    def at(cls, start: Pair, like: Tensor) -> _Walk:
        return cls(start, start, torch.ones_like(like), torch.full_like(like, torch.inf))


def _advance(sets: Range, walk: _Walk, weight: Tensor, multiplier: Tensor) -> _Walk:
    """One step on (weight/2)||v||^2 + 1/2||K^T v - A^T p + multiplier||^2.

    1/(2||K||^2 + weight) for v and 1/(2||A||^2) for p are safe together; momentum restarts where it points uphill.
    """
    curvature = 2 * sets.forward_norm.square() + weight
    curvature = torch.where(curvature > 0, curvature, torch.ones_like(curvature))
    bend = 2 * sets.transform_norm**2
    now, ahead = walk.now, walk.ahead
    defect = sets.defect(ahead) + multiplier
    gradient = sets.forward(defect) + per_sample(weight, ahead.v) * ahead.v
    v = ahead.v - gradient / per_sample(curvature, gradient)
    p = sets.project(ahead.p + sets.transform(defect) / bend)
    step, move = Pair(ahead.v - v, ahead.p - p), Pair(v - now.v, p - now.p)
    uphill = curvature * inner(step.v, move.v) + bend * inner(step.p, move.p) > 0
    momentum = torch.where(uphill, torch.ones_like(walk.momentum), walk.momentum)
    following = 0.5 * (1 + torch.sqrt(1 + 4 * momentum.square()))
    gain = (momentum - 1) / following
    further = Pair(v + per_sample(gain, v) * move.v, p + per_sample(gain, p) * move.p)
    promise = (curvature * norm(step.v).square() + bend * norm(step.p).square()).sqrt()
    return _Walk(Pair(v, p), further, following, promise)
