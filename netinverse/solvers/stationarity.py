"""The stationarity residual: what one proximal-gradient step could still gain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.problems import InverseProblem
from netinverse.tensors import inner, norm, per_sample


@dataclass(frozen=True)
class ProximalGradientStep:
    """``x``: the point the step leads to; ``residual``: D at the point it starts from, (batch,); ``dual`` warm-starts the next."""

    x: Tensor
    residual: Tensor
    dual: Tensor


def proximal_gradient_step(
    problem: InverseProblem, x: Tensor, size: Tensor, dual: Tensor, tolerance: float
) -> ProximalGradientStep:
    """v = prox of t (alpha R + C) at x - t grad f(x), t = 1/||z'(x)||^2, and the stationarity residual

        D(x) = <grad f(x), x - v> + alpha R(x) - alpha R(v) - ||v - x||^2 / (2t),    f = G(z(.)).

    D is zero exactly where x is stationary, is at least ||v - x||^2 / (2t), and has the units of the objective. It is local:
    it says nothing about other minimisers. The proximal map is inexact; its own duality gap, asked to be at most a quarter of
    ``tolerance`` relative, is added, so that D is an upper bound. ``size`` is ||z'(x)||, ``dual`` a dual variable of R near x.
    """
    value, derivative = problem.variable.linearise(x)
    gradient = derivative.adjoint(problem.term.gradient(value))
    t = 1 / size.square().clamp(min=torch.finfo(x.dtype).tiny)
    found = problem.regulariser.prox(
        x - per_sample(t, x) * gradient, t * problem.alpha, problem.constraint, tolerance / 4, warm=dual
    )
    gain = inner(gradient, x - found.x) + problem.alpha * (problem.regulariser(x) - problem.regulariser(found.x))
    residual = (gain - norm(found.x - x).square() / (2 * t)).clamp(min=0) + found.gap / t
    return ProximalGradientStep(found.x, residual, found.dual)
