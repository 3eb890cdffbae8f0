"""The stationarity residual, and the proximal-gradient steps that measure it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.operators.linear import norm_bound
from netinverse.problems import InverseProblem
from netinverse.tensors import choose, inner, norm, per_sample, scatter, select

NEARBY = 1e-2
"""How far from x, as a share of its norm, the points may lie whose gradients are taken for gradients at x."""

AT_A_KINK = 1e-4
"""x lies at a kink where a step no longer than this share of its norm does not descend; of a smooth network one has by then."""

PROMISED = 0.1
"""A step is taken where it brings the objective down by this share of what it promises."""


@dataclass(frozen=True)
class ProximalGradientStep:
    """``x``: where the step leads; ``residual``: D at the point it starts from, (batch,); ``dual`` warm-starts the next."""

    x: Tensor
    residual: Tensor
    dual: Tensor


@dataclass(frozen=True)
class Polished:
    """The point, its objective and stationarity residual, and where it moved. The rest is for the next round: the gradient, how
    far from x the furthest point may lie that it is made of, the step tried from x, and how long it was as a share of t.
    """

    x: Tensor
    objective: Tensor
    residual: Tensor
    moved: Tensor
    gradient: Tensor
    reach: Tensor
    trial: ProximalGradientStep
    share: Tensor


def fidelity_gradient(problem: InverseProblem, x: Tensor) -> Tensor:
    """The gradient of f = G(z(.)), z'(x)^* grad G(z(x)); at a kink of z that of one side."""
    value, derivative = problem.variable.linearise(x)
    return derivative.adjoint(problem.term.gradient(value))


def proximal_gradient_step(
    problem: InverseProblem,
    x: Tensor,
    gradient: Tensor,
    size: Tensor,
    dual: Tensor,
    tolerance: float,
    share: Tensor | float = 1.0,
) -> ProximalGradientStep:
    """v = prox of s t (alpha R + C) at x - s t g, t = 1/(L ||z'(x)||^2), L the curvature of G, s the ``share``; and D(x; s t)/s,
    for s = 1 the stationarity residual, for s < 1 a bound of it:

        D(x; t) = <g, x - v> + alpha R(x) - alpha R(v) - ||v - x||^2 / (2t) <= D(x; s t)/s, s <= 1.

    With g the gradient of f = G(z(.)) at x, D is zero exactly where x is stationary, and is what one such step can gain to first
    order. It is at least ||v - x||^2 / (2t), has the units of the objective, and is local: it says nothing about other
    minimisers. The proximal map is inexact; its own duality gap, asked to be at most a quarter of ``tolerance`` relative, is
    added, so that D is an upper bound. ``size`` is ||z'(x)||, ``dual`` a dual variable of R near x.

    The inequality: D(x; t)/t is the maximum over e of (a(t e) - a(0))/t - ||e||^2/2 with a concave, and falls with t.
    """
    t = share / (problem.term.curvature * size.square()).clamp(min=torch.finfo(x.dtype).tiny)
    point = x - per_sample(t, x) * gradient
    found = problem.regulariser.prox(point, t * problem.alpha, problem.constraint, tolerance / 4, warm=dual)
    gain = inner(gradient, x - found.x) + problem.alpha * (problem.regulariser(x) - problem.regulariser(found.x))
    residual = (gain - norm(found.x - x).square() / (2 * t)).clamp(min=0) + found.gap / t
    return ProximalGradientStep(found.x, residual / share, found.dual)


def measured(
    problem: InverseProblem, x: Tensor, gradient: Tensor, dual: Tensor, tolerance: float
) -> tuple[ProximalGradientStep, Tensor]:
    """The step of length t with the norm at x itself, and that norm."""
    size = norm_bound(problem.variable.linearise(x)[1], x)
    return proximal_gradient_step(problem, x, gradient, size, dual, tolerance), size


def polish(
    problem: InverseProblem, x: Tensor, objective: Tensor, size: Tensor, dual: Tensor, *, tolerance: float, steps: int
) -> Polished:
    """Proximal-gradient steps until D <= tolerance * objective, at most ``steps``; each sample until it is done.

    A step is taken where it brings the objective down enough. Where it does not, z bends, and the next one is a quarter as long.
    Where it is no longer than ``AT_A_KINK`` times ||x|| already, x lies at a kink of the network, whose other side has another
    gradient: g becomes the convex combination of itself and of the gradient at v with which the proximal-gradient step is
    shortest, to first order, and so it does from then on at each v no further than ``NEARBY`` times ||x||. On either side of a
    ridge such steps follow the ridge (aggregated subgradients: Kiwiel, Methods of Descent for Nondifferentiable Optimization,
    1985; gradient sampling: Burke, Lewis & Overton, SIAM J. Optim. 15, 2005). g is kept as long as x stays that near to all its
    points. D = 0 then says that zero is in the subdifferential over that neighbourhood (Goldstein, Math. Program. 13, 1977),
    which is what stationary means at a kink.

    ``size`` may be any estimate of ||z'||: the steps are as long as it says, and D is with ``measured``.
    """
    gradient = fidelity_gradient(problem, x)
    trial = proximal_gradient_step(problem, x, gradient, size, dual, tolerance)
    ones = torch.ones_like(objective)
    now = Polished(x, objective, trial.residual, torch.zeros_like(ones, dtype=torch.bool), gradient, 0 * ones, trial, ones)
    for _ in range(steps):
        open_ = (now.residual > tolerance * now.objective).nonzero().flatten()
        if not len(open_):
            break
        part = _round(problem.select(open_), select(now, open_), size[open_], tolerance)
        now = scatter(now, open_, part)
    return now


def _round(problem: InverseProblem, now: Polished, size: Tensor, tolerance: float) -> Polished:
    """Take the trial step where it helps, shorten it or learn from it where it does not, and try again."""
    value, there = problem.objective(now.trial.x), fidelity_gradient(problem, now.trial.x)
    length, nearby = norm(now.trial.x - now.x), NEARBY * norm(now.x)
    helps = value < now.objective - PROMISED * now.share * now.trial.residual
    learns = ~helps & (length <= torch.where(now.reach > 0, nearby, AT_A_KINK * norm(now.x)))
    reach = torch.where(helps, now.reach + length, torch.maximum(now.reach, length))
    combines = learns | (helps & (now.reach > 0) & (reach <= nearby))
    weight = torch.where(combines, _shortest(problem, now, there, size), torch.where(helps, 1.0, 0.0))
    x = choose(helps, now.trial.x, now.x)
    gradient = torch.lerp(now.gradient, there, per_sample(weight, there))
    share = torch.where(helps, (2 * now.share).clamp(max=1.0), torch.where(learns, now.share, now.share / 4))
    trial = proximal_gradient_step(problem, x, gradient, size, now.trial.dual, tolerance, share)
    residual = torch.where(helps, trial.residual, torch.minimum(now.residual, trial.residual))
    objective = torch.where(helps, value, now.objective)
    reach = torch.where(combines, reach, torch.where(helps, 0.0, now.reach))
    return Polished(x, objective, residual, now.moved | helps, gradient, reach, trial, share)


def _shortest(problem: InverseProblem, now: Polished, there: Tensor, size: Tensor) -> Tensor:
    """w in [0, 1] with the shortest (x - v)/(st) - w (g - ``there``): the proximal-gradient step with (1 - w) g + w ``there``, as
    long as the subgradient of R at its end stays what it is.
    """
    apart = now.gradient - there
    rate = problem.term.curvature * size.square() / now.share
    weight = rate * inner(now.x - now.trial.x, apart) / norm(apart).square()
    return weight.clamp(0, 1).nan_to_num(nan=0.0)  # equal gradients
