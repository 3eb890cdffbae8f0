"""Where a sample is that is solved by linearising the network anew, and with which duals it goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.operators.linear import norm_bound
from netinverse.problems import InverseProblem
from netinverse.solvers.convex import data_scale


@dataclass(frozen=True)
class Relinearised:
    """``duals``: of the data term and of the regulariser, the latter alpha p with p what is known of dg(K x); they warm-start the
    next step. ``size``: ||z'||, where it was last looked at.
    """

    x: Tensor
    objective: Tensor
    residual: Tensor
    optimality: Tensor
    stalled: Tensor
    duals: tuple[Tensor, ...]
    primal_weight: Tensor
    scale: Tensor
    size: Tensor


def begun(problem: InverseProblem, x: Tensor, warm: Relinearised | None = None) -> Relinearised:
    """At x, with nothing known, or with the duals of the state ``warm`` of another alpha."""
    x = problem.feasible(x)
    objective = problem.objective(x)
    if warm is not None:
        return replace(
            warm,
            x=x,
            objective=objective,
            residual=problem.residual(x),
            optimality=torch.full_like(objective, torch.inf),
            stalled=torch.zeros_like(warm.stalled),
            primal_weight=_at_most(warm.primal_weight, warm.size),
        )
    value, derivative = problem.variable.linearise(x)
    size = norm_bound(derivative, x)
    scale = data_scale(problem, value, size, x)
    with torch.no_grad():
        duals = (torch.zeros_like(problem.variable(x)), torch.zeros_like(problem.penalty_term(tuple(x.shape[1:])).image(x)))
    return Relinearised(
        x=x,
        objective=objective,
        residual=problem.residual(x),
        optimality=torch.full_like(objective, torch.inf),
        stalled=torch.zeros_like(objective, dtype=torch.bool),
        duals=duals,
        # The duals of R are about alpha long: their ratio to x in the units of the primal-dual method.
        primal_weight=_at_most(problem.alpha * problem.regulariser.transform_norm(tuple(x.shape[1:])) / scale, size),
        scale=scale,
        size=size,
    )


def _at_most(weight: Tensor, size: Tensor) -> Tensor:
    """A primal weight of at most ||z'||^2, that of duals that fit data as large as what x makes: however large alpha is, they
    grow no further, and a weight that follows alpha there leaves x where it is, at the next alpha too.
    """
    return torch.where(size > 0, torch.minimum(weight, size.square()), weight)
