"""How far a jointly convex lifted energy is from its global minimum, from one gradient."""

from __future__ import annotations

from torch import Tensor

from netinverse.problems import LiftedProblem
from netinverse.tensors import inner, norm, per_sample


def convex_gap(problem: LiftedProblem, x: Tensor, us: tuple[Tensor, ...], dual: Tensor, tolerance: float) -> Tensor:
    """An upper bound of E(x, u) + alpha R(x) - minimum, for m = ``problem.modulus`` > 0; zero exactly at the minimiser, (batch,).

    With f the energy without h_l(u_l) = lambda_l (1/2||u_l||^2 + Psi_l(u_l)), f - m/2||x||^2 is convex, so that f lies above its
    linearisation plus m/2||x' - x||^2 and the minimum above a sum over the blocks:

        gap = sum_l lambda_l B_l(u_l, -grad_l f / lambda_l)
              + max over v in C of <grad_x f, x - v> + alpha R(x) - alpha R(v) - m/2||v - x||^2.

    The first parts are max over v of <grad_l f, u_l - v> + h_l(u_l) - h_l(v), by the definition of Phi; the last is a proximal
    map of R, whose own duality gap is added. ``dual``: a dual variable of R near x; ``tolerance``: of the proximal map.
    """
    energy, inverse, m = problem.energy, problem.inverse, problem.modulus
    gradient, gradients = energy.gradients(x, us)
    gap = x.new_zeros(x.shape[0])
    for block, (node, u, pulled) in enumerate(zip(energy.blocks, us, gradients, strict=True)):
        weight = energy.weight(block)
        assert node.potential is not None  # the modulus is that of proximal layers
        gap = gap + weight * node.potential.penalty(u, -pulled / per_sample(weight, u))
    found = inverse.regulariser.prox(x - gradient / m, inverse.alpha / m, inverse.constraint, tolerance, warm=dual)
    gain = inner(gradient, x - found.x) + inverse.alpha * (inverse.regulariser(x) - inverse.regulariser(found.x))
    return gap + (gain - m / 2 * norm(found.x - x).square()).clamp(min=0) + m * found.gap
