"""Semismooth Newton for Tikhonov regularisation behind one dense layer: a few factorisations to rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from netinverse.operators.linear import Identity
from netinverse.operators.matrix import Matrix
from netinverse.problems import CompositeProblem
from netinverse.protocols import ProximalFunction
from netinverse.prox import Scaled, SquaredNorm
from netinverse.solvers.gap import duality_gap
from netinverse.solvers.primal_dual import Point
from netinverse.tensors import inner, per_sample

AT_ONCE = 2**24
"""Numbers in the matrices of the samples that are factorised together."""
SUFFICIENT = 1e-4
HALVINGS = 40


@runtime_checkable
class EntrywiseTerm(ProximalFunction, Protocol):
    """G(z) = sum of functions of the entries, each with a slope of its gradient."""

    def gradient(self, z: Tensor) -> Tensor: ...

    def second(self, z: Tensor) -> Tensor | None:
        """An element of the generalised derivative of the gradient, entry by entry; None where the entries are not separate."""
        ...


@dataclass(frozen=True)
class SemismoothNewtonState:
    """``best`` is x with the duals that its gradients are; they are those of the last step, whose gap is the ``optimality``."""

    best: Point
    objective: Tensor
    optimality: Tensor
    stalled: Tensor
    primal_weight: Tensor
    iterations: Tensor

    @property
    def x(self) -> Tensor:
        return self.best.x


@dataclass(frozen=True)
class SemismoothNewton:
    """min over x of G(W x + b) + alpha/2 ||x||^2, W dense: (W^T D W + alpha) d = -gradient, D the slopes of grad G.

    The step is 1, 1/2, 1/4, ... of d, until the objective has come down by a share of what d promises. The objective is strongly
    convex and its gradient semismooth: the steps lead to the minimiser from everywhere, and near it at once for piecewise linear
    activations, quadratically for smooth ones. Systems are solved in the smaller of the two dimensions of W, by Woodbury's
    identity where W is wide. The certificate is the duality gap at the duals grad G(z) and -W^T grad G(z), which is at most
    ||gradient||^2/(2 alpha).
    Qi & Sun, Math. Program. 58, 1993.
    """

    @staticmethod
    def suits(problem: CompositeProblem) -> bool:
        """True for the problems above: G by entries behind a ``Matrix``, weights that are positive, and no constraint."""
        if len(problem.terms) != 2 or problem.constraint is not None:
            return False
        data, penalty = problem.terms
        function = penalty.function
        return (
            isinstance(data.map, Matrix)
            and isinstance(data.function, EntrywiseTerm)
            and data.function.second(torch.zeros(0, *data.map.rows)) is not None
            and isinstance(penalty.map, Identity)
            and isinstance(function, Scaled)
            and isinstance(function.function, SquaredNorm)
            and bool((torch.as_tensor(function.weight) > 0).all())
        )

    def init(
        self,
        problem: CompositeProblem,
        x: Tensor,
        duals: tuple[Tensor, ...] | None = None,
        primal_weight: Tensor | None = None,
    ) -> SemismoothNewtonState:
        """Start at x. ``duals`` are not needed."""
        ones = torch.ones_like(problem.terms[1].norm)
        state = SemismoothNewtonState(
            best=Point(x, ()),
            objective=ones,
            optimality=ones,
            stalled=torch.zeros_like(ones, dtype=torch.bool),
            primal_weight=ones if primal_weight is None else primal_weight,
            iterations=torch.zeros_like(ones),
        )
        return _judged(problem, state, x)

    def step(self, problem: CompositeProblem, state: SemismoothNewtonState) -> SemismoothNewtonState:
        data = problem.terms[0]
        assert isinstance(data.map, Matrix) and isinstance(data.function, EntrywiseTerm)
        alpha, x = _weight(problem), state.x
        z = data.shifted(data.image(x))
        gradient = data.map.adjoint(data.function.gradient(z)) + per_sample(alpha, x) * x
        slopes = data.function.second(z)
        assert slopes is not None
        direction = _solve(data.map.weight, slopes.flatten(1), alpha, gradient.flatten(1)).reshape(x.shape)
        along, promised = data.image(direction), inner(gradient, direction)

        def value(share: Tensor) -> Tensor:
            moved = x + per_sample(share, x) * direction
            return data.function(z + per_sample(share, z) * along) + 0.5 * alpha * inner(moved, moved)

        # Near the minimiser the change is rounding.
        start, share = value(torch.zeros_like(alpha)), torch.ones_like(alpha)
        slack = 16 * torch.finfo(x.dtype).eps * start.abs()
        for _ in range(HALVINGS):
            short = ~(value(share) <= start + SUFFICIENT * share * promised + slack)
            if not bool(short.any()):
                break
            share = torch.where(short, share / 2, share)
        judged = _judged(problem, state, x + per_sample(share, x) * direction)
        worse = judged.optimality >= state.optimality
        tiny = judged.optimality <= 64 * torch.finfo(x.dtype).eps * judged.objective
        return replace(judged, stalled=worse & tiny, iterations=state.iterations + 1)


def _weight(problem: CompositeProblem) -> Tensor:
    function = problem.terms[1].function
    assert isinstance(function, Scaled) and isinstance(function.function, SquaredNorm)
    weight = function.function.weight * torch.as_tensor(function.weight, dtype=problem.terms[1].norm.dtype)
    return weight.to(problem.terms[1].norm.device).expand_as(problem.terms[1].norm)


def _judged(problem: CompositeProblem, state: SemismoothNewtonState, x: Tensor) -> SemismoothNewtonState:
    data = problem.terms[0]
    assert isinstance(data.function, EntrywiseTerm)
    dual = data.function.gradient(data.shifted(data.image(x)))
    duals = (dual, -data.map.adjoint(dual))
    objective, gap = duality_gap(problem, x, duals)
    return replace(state, best=Point(x, duals), objective=objective, optimality=gap)


def _solve(weight: Tensor, slopes: Tensor, alpha: Tensor, gradient: Tensor) -> Tensor:
    """-(W^T D W + alpha)^{-1} gradient, sample by sample; slopes (batch, rows), gradient (batch, columns)."""
    rows, columns = weight.shape
    chunk = max(1, AT_ONCE // max(1, rows * min(rows, columns)))
    solve = _solve_tall if columns <= rows else _solve_wide
    places = [slice(start, start + chunk) for start in range(0, len(alpha), chunk)]
    return torch.cat([solve(weight, slopes[at], alpha[at], gradient[at]) for at in places]) if places else -gradient


def _solve_tall(weight: Tensor, slopes: Tensor, alpha: Tensor, gradient: Tensor) -> Tensor:
    system = weight.T @ (slopes[:, :, None] * weight)
    system.diagonal(dim1=1, dim2=2).add_(alpha[:, None])
    factor, _ = torch.linalg.cholesky_ex(system)
    return -torch.cholesky_solve(gradient[:, :, None], factor)[:, :, 0]


def _solve_wide(weight: Tensor, slopes: Tensor, alpha: Tensor, gradient: Tensor) -> Tensor:
    """By Woodbury's identity."""
    root = slopes.clamp(min=0).sqrt()
    system = root[:, :, None] * (weight @ weight.T) * root[:, None, :]
    system.diagonal(dim1=1, dim2=2).add_(alpha[:, None])
    factor, _ = torch.linalg.cholesky_ex(system)
    inner_ = torch.cholesky_solve((root * (gradient @ weight.T))[:, :, None], factor)[:, :, 0]
    return -(gradient - (root * inner_) @ weight) / alpha[:, None]
