"""Primal-dual iterations for G(z(x)) + alpha R(x) over x in C that differentiate z anew at every one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.problems import InverseProblem
from netinverse.prox import prox_conjugate
from netinverse.solvers.primal_dual import Point, balanced
from netinverse.solvers.relinearised import Relinearised
from netinverse.tensors import choose, norm, per_sample


@dataclass(frozen=True)
class NonlinearPrimalDual:
    """x+ = P_C(x - t (z'(x_)* q + K* p)), q+ = prox_{s G*}(q + s (2 z(x+) - w)), p+ = prox_{r (alpha g)*}(p + r K (2x+ - x)),
    R = g(K .), x_ the last x+; the next iteration begins at (x, q, p, w) + ``relaxation`` ((x+, q+, p+, z(x+)) - (x, q, p, w)).
    A step begins with x_ = x and w = z(x).

    An iteration costs as much as one of ``PrimalDual`` on a linearised problem, but no linearised problem is solved further
    than it is true. What is lost is the duality gap, and with it any certificate: ``Nonconvex`` measures one.

    Steps are those of ``PrimalDual`` with an estimate of ||z'||, not a bound: the norm where it was last measured, or the largest
    |dz|/|dx| over a step since. The norm elsewhere may be larger, and the steps then longer than those for which ``PrimalDual``
    converges. Measuring it at every step costs more than it gains; what goes wrong is caught by ``growth``, and by the
    certificate, which does not rest on it. The primal weight is balanced after every step of ``iterations_per_step`` iterations.

    On its way the objective may rise and fall. A step that multiplies it by more than ``growth``, or loses it, is not taken, and
    the sample has stalled.

    After Valkonen, Inverse Problems 30, 2014, who linearises or evaluates z at the extrapolated point, without relaxation, and
    proves local convergence; here nothing is proved.
    """

    iterations_per_step: int = 40
    relaxation: float = 1.8
    growth: float = 4.0

    def step(self, problem: InverseProblem, state: Relinearised) -> Relinearised:
        penalty, z = problem.penalty_term(tuple(state.x.shape[1:])), problem.variable
        step = 0.99 / 2**0.5
        x, (q, p) = state.x, state.duals
        start = Point(state.x, state.duals)
        r, s = (step * state.primal_weight / size.square() for size in (penalty.norm, state.size))
        t, broad_r, broad_s = (per_sample(*each) for each in ((step / state.primal_weight, x), (r, p), (s, q)))
        first, derivative = z.linearise(x)
        value, image = first, penalty.image(x)
        for _ in range(self.iterations_per_step):
            new = problem.feasible(x - t * (derivative.adjoint(q) + penalty.map.adjoint(p)))
            new_value, derivative = z.linearise(new)
            new_image = penalty.image(new)
            new_q = prox_conjugate(problem.term, torch.addcmul(q, broad_s, torch.lerp(value, new_value, 2.0)), s)
            new_p = prox_conjugate(penalty.function, torch.addcmul(p, broad_r, torch.lerp(image, new_image, 2.0)), r)
            x, q, p = (torch.lerp(*each, self.relaxation) for each in ((x, new), (q, new_q), (p, new_p)))
            value, image = torch.lerp(value, new_value, self.relaxation), torch.lerp(image, new_image, self.relaxation)
        moved = replace(
            state,
            x=new,
            objective=problem.objective(new),
            residual=problem.residual(new),
            optimality=torch.full_like(state.optimality, torch.inf),
            stalled=torch.zeros_like(state.stalled),
            duals=(new_q, new_p),
            size=torch.maximum(state.size, _stretch(new - state.x, new_value - first, new)),
            primal_weight=balanced((state.size, penalty.norm), state.primal_weight, start, Point(new, (new_q, new_p))),
        )
        taken = moved.objective <= self.growth * state.objective
        return choose(taken, moved, replace(state, stalled=torch.ones_like(taken)))


def _stretch(dx: Tensor, dz: Tensor, x: Tensor) -> Tensor:
    """|dz|/|dx|, per sample; 0 where x has moved so little that rounding may be most of it."""
    moved, floor = norm(dx), torch.finfo(x.dtype).eps ** 0.5 * norm(x)
    return torch.where(moved > floor, norm(dz) / moved, 0.0)
