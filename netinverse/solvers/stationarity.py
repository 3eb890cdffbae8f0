"""The stationarity residual, and the proximal-gradient steps that measure it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.operators.linear import norm_bound
from netinverse.problems import InverseProblem
from netinverse.tensors import choose, inner, norm, per_sample, scatter, select


@dataclass(frozen=True)
class ProximalGradientStep:
    """``x``: where the step leads; ``residual``: D at the point it starts from, (batch,); ``dual`` warm-starts the next."""

    x: Tensor
    residual: Tensor
    dual: Tensor


@dataclass(frozen=True)
class Polished:
    """The point, its objective and stationarity residual, and where it moved. The rest is for the next round."""

    x: Tensor
    objective: Tensor
    residual: Tensor
    moved: Tensor
    gradient: Tensor
    gradients: Tensor
    trial: ProximalGradientStep

    def dual(self, alpha: Tensor) -> Tensor:
        """alpha p, p in dg(K v) at the end v of the trial step, which is x where x is stationary."""
        return per_sample(alpha, self.trial.dual) * self.trial.dual


def fidelity_gradient(problem: InverseProblem, x: Tensor) -> Tensor:
    """The gradient of f = G(z(.)), z'(x)^* grad G(z(x)); at a kink of z that of one side."""
    value, derivative = problem.variable.linearise(x)
    return derivative.adjoint(problem.term.gradient(value))


def proximal_gradient_step(
    problem: InverseProblem, x: Tensor, gradient: Tensor, size: Tensor, dual: Tensor, tolerance: float
) -> ProximalGradientStep:
    """v = prox of t (alpha R + C) at x - t g, t = 1/(L ||z'(x)||^2), L the curvature of G, and the stationarity residual

        D(x) = <g, x - v> + alpha R(x) - alpha R(v) - ||v - x||^2 / (2t).

    With g the gradient of f = G(z(.)) at x, D is zero exactly where x is stationary, and is what one such step can gain to first
    order. It is at least ||v - x||^2 / (2t), has the units of the objective, and is local: it says nothing about other
    minimisers. The proximal map is inexact; its own duality gap, asked to be at most a quarter of ``tolerance`` relative, is
    added, so that D is an upper bound. ``size`` is ||z'(x)||, ``dual`` a dual variable of R near x.
    """
    t = 1 / (problem.term.curvature * size.square()).clamp(min=torch.finfo(x.dtype).tiny)
    point = x - per_sample(t, x) * gradient
    found = problem.regulariser.prox(point, t * problem.alpha, problem.constraint, tolerance / 4, warm=dual)
    gain = inner(gradient, x - found.x) + problem.alpha * (problem.regulariser(x) - problem.regulariser(found.x))
    residual = (gain - norm(found.x - x).square() / (2 * t)).clamp(min=0) + found.gap / t
    return ProximalGradientStep(found.x, residual, found.dual)


def polish(
    problem: InverseProblem, x: Tensor, objective: Tensor, size: Tensor, dual: Tensor, *, tolerance: float, steps: int
) -> Polished:
    """Proximal-gradient steps until D <= tolerance * objective, at most ``steps``; each sample until it is done.

    A step is taken where it brings the objective down. Where it does not, x lies at a kink of the network, whose other side has
    another gradient: g becomes the mean of the gradients at x and at the points v tried since x last moved. They lie within one
    step of x, and D = 0 then says that zero is in the subdifferential over that neighbourhood (Goldstein, Math. Program. 13,
    1977), which is what stationary means at a kink.
    """
    gradient = fidelity_gradient(problem, x)
    trial = proximal_gradient_step(problem, x, gradient, size, dual, tolerance)
    ones = torch.ones_like(objective)
    now = Polished(x, objective, trial.residual, torch.zeros_like(ones, dtype=torch.bool), gradient, ones, trial)
    for _ in range(steps):
        open_ = (now.residual > tolerance * now.objective).nonzero().flatten()
        if not len(open_):
            break
        part = _round(problem.select(open_), select(now, open_), size[open_], tolerance)
        now = scatter(now, open_, part)
    return now


def measured_again(
    problem: InverseProblem, end: Polished, size: Tensor, moved: Tensor, tolerance: float
) -> tuple[Polished, Tensor]:
    """D with the step length of x itself, and ||z'(x)||, where the test is passed with the norm of another point.

    ``size`` is the norm at the point that x has ``moved`` away from. A larger one shortens the step, and D with it: the test may
    be passed for no other reason.
    """
    passed = (moved & (end.residual <= tolerance * end.objective)).nonzero().flatten()
    if not len(passed):
        return end, size
    part, here = problem.select(passed), select(end, passed)
    at_x = norm_bound(part.variable.linearise(here.x)[1], here.x)
    trial = proximal_gradient_step(part, here.x, here.gradient, at_x, here.trial.dual, tolerance)
    return scatter(end, passed, replace(here, residual=trial.residual, trial=trial)), size.index_copy(0, passed, at_x)


def _round(problem: InverseProblem, now: Polished, size: Tensor, tolerance: float) -> Polished:
    """Take the trial step where it helps, learn from it where it does not, and try again."""
    value, there = problem.objective(now.trial.x), fidelity_gradient(problem, now.trial.x)
    helps = value < now.objective
    x = choose(helps, now.trial.x, now.x)
    gradients = torch.where(helps, torch.ones_like(value), now.gradients + 1)
    gradient = torch.lerp(now.gradient, there, per_sample(1 / gradients, there))
    trial = proximal_gradient_step(problem, x, gradient, size, now.trial.dual, tolerance)
    residual = torch.where(helps, trial.residual, torch.minimum(now.residual, trial.residual))
    return Polished(x, torch.where(helps, value, now.objective), residual, now.moved | helps, gradient, gradients, trial)
