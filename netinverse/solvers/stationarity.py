"""The stationarity residual: what one proximal-gradient step could still gain."""

from __future__ import annotations

import torch
from torch import Tensor

from netinverse.problems import InverseProblem
from netinverse.tensors import inner, norm


def stationarity(problem: InverseProblem, x: Tensor, size: Tensor, dual: Tensor, tolerance: float) -> Tensor:
    """D(x) = max over v in C of <grad f(x), x - v> + alpha R(x) - alpha R(v) - 1/(2t)||v - x||^2, t = 1/||z'(x)||^2.

    f = G(z(.)). D is zero exactly where x is stationary, is at least 1/(2t) times the squared length of the proximal-gradient
    step, and has the units of the objective. It is local: it says nothing about other minimisers. The proximal map is inexact; its own
    duality gap, at most a quarter of ``tolerance`` relative, is added, so that D is an upper bound. ``dual`` warm-starts it.
    """
    value, derivative = problem.variable.linearise(x)
    gradient = derivative.adjoint(problem.term.gradient(value))
    t = 1 / size.square().clamp(min=torch.finfo(x.dtype).tiny)
    column = t.reshape(t.shape + (1,) * (x.ndim - 1))
    result = problem.regulariser.prox(x - column * gradient, t * problem.alpha, problem.constraint, tolerance / 4, warm=dual)
    v = result.x
    gain = inner(gradient, x - v) + problem.alpha * (problem.regulariser(x) - problem.regulariser(v))
    return (gain - norm(v - x).square() / (2 * t)).clamp(min=0) + result.gap / t
