"""The duality gap of a convex composite problem at a primal-dual pair."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netinverse.operators.linear import Identity, LeadingChannels
from netinverse.problems import CompositeProblem
from netinverse.prox import Box, NonNegative
from netinverse.solvers.feasible_dual import closing, excess, shrink
from netinverse.tensors import inner, per_sample


def pull_back(problem: CompositeProblem, duals: tuple[Tensor, ...]) -> Tensor:
    """K^T q = sum_i K_i^T q_i."""
    pulled = problem.terms[0].map.adjoint(duals[0])
    for term, q in zip(problem.terms[1:], duals[1:], strict=True):
        pulled = pulled + term.map.adjoint(q)
    return pulled


UNCHANGED, BOUNDED, SCALED, ABSORBED = "no change", "a bounded domain", "scaling", "a term in x itself"
"""How a dual point is made feasible, for which K^T q has to vanish: see ``_near``."""


def duality_gap(problem: CompositeProblem, x: Tensor, duals: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The objective at x, and sum_i [f_i(K_i x + c_i) + f_i*(q_i) - <q_i, c_i>] + sup over x' in C of <-K^T q, x'>.

    The gap is an upper bound of objective - minimum. Each term is written as a Fenchel-Young defect,
    f_i(w_i) + f_i*(q_i) - <q_i, w_i> with w_i = K_i x + c_i, and the last as sup <-K^T q, x' - x>: all are nonnegative, and
    nothing large cancels. The smallest is returned of this gap and those at the dual points of ``_near``.
    """
    objective, gaps, _ = _gaps(problem, x, duals)
    return objective, gaps.amin(0)


def made_feasible(problem: CompositeProblem, x: Tensor, duals: tuple[Tensor, ...]) -> tuple[str, ...]:
    """How the dual point of the smallest gap was made feasible, for each sample."""
    _, gaps, ways = _gaps(problem, x, duals)
    as_they_are = (pull_back(problem, duals) == 0).flatten(1).all(1).tolist()
    return tuple(UNCHANGED if so else ways[i] for so, i in zip(as_they_are, gaps.argmin(0).tolist(), strict=True))


def _gaps(problem: CompositeProblem, x: Tensor, duals: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, list[str]]:
    """The objective, (batch,), the gaps at all dual points, (points, batch), and how each of these was made."""
    points = tuple(term.shifted(term.image(x)) for term in problem.terms)
    values = tuple(term.function(w) for term, w in zip(problem.terms, points, strict=True))
    found = _near(problem, duals, pull_back(problem, duals))
    gaps = [sum_of(_defects(problem, near, points, values)) + _constraint_gap(problem, x, rest) for _, near, rest in found]
    others = [gap.nan_to_num(nan=torch.inf, posinf=torch.inf) for gap in gaps[1:]]
    return sum_of(values), torch.stack([gaps[0], *others]), [way for way, _, _ in found]


def _near(problem: CompositeProblem, duals: tuple[Tensor, ...], pulled: Tensor) -> list[tuple[str, tuple[Tensor, ...], Tensor]]:
    """The dual point q and others near it, each with its K^T q: less of it leaves less to the constraint set, or to that part of
    an unbounded one which is near x. First how each was made.

    The field of a total variation absorbs it, and all duals shrink until that field fits its ball; or a term in x itself, or in
    some of its channels, takes over what is in them. There the gap is of second order in the error.
    """
    found = [(BOUNDED, duals, pulled)]
    for i, (term, q) in enumerate(zip(problem.terms, duals, strict=True)):
        if (change := closing(term, q, pulled)) is not None:
            by = excess(term.function, q + change)
            rest = (pulled + term.map.adjoint(change)) / per_sample(by, pulled)
            found.append((SCALED, shrink((*duals[:i], q + change, *duals[i + 1 :]), by), rest))
    for way, near, rest in tuple(found):
        for i, term in enumerate(problem.terms):
            if isinstance(term.map, Identity | LeadingChannels):
                part = term.map(rest)
                also = ABSORBED if way == BOUNDED else f"{way} and {ABSORBED}"
                found.append((also, (*near[:i], near[i] - part, *near[i + 1 :]), rest - term.map.adjoint(part)))
    return found


def _defects(
    problem: CompositeProblem, duals: tuple[Tensor, ...], points: tuple[Tensor, ...], values: tuple[Tensor, ...]
) -> list[Tensor]:
    """f_i(w_i) + f_i*(q_i) - <q_i, w_i>, term by term."""
    return [
        (f + term.function.conjugate(q) - inner(q, w)).clamp(min=0)
        for term, q, w, f in zip(problem.terms, duals, points, values, strict=True)
    ]


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(parts)).sum(0)


def _constraint_gap(problem: CompositeProblem, x: Tensor, pulled: Tensor) -> Tensor:
    """sup of <-g, x' - x> over x' in C, g = K^T q, C cut down to within 2 max(scale, max|x|) of x where it is unbounded.

    On the whole space the supremum is infinite unless g = 0 exactly. On the part of C near x it is finite, and by convexity it
    still bounds what a minimiser at distance d (in the largest entry) could gain: at most gap * max(1, d / radius).
    """
    constraint = problem.constraint
    if constraint is not None and not isinstance(constraint, Box | NonNegative):
        return constraint.conjugate(-pulled) + inner(pulled, x)
    largest = x.flatten(1).abs().amax(1) if x.numel() else x.new_zeros(x.shape[0])
    radius = per_sample(2 * torch.maximum(largest, torch.as_tensor(problem.scale, dtype=x.dtype, device=x.device)), x)
    lower, upper = x - radius, x + radius
    if isinstance(constraint, Box):
        bounds = [torch.as_tensor(b, dtype=x.dtype, device=x.device) for b in (constraint.lower, constraint.upper)]
        lower = torch.where(torch.isfinite(bounds[0]), bounds[0], lower)
        upper = torch.where(torch.isfinite(bounds[1]), bounds[1], upper)
    elif constraint is not None:
        lower = torch.zeros_like(x)
    return inner(pulled.clamp(min=0), x - lower) + inner((-pulled).clamp(min=0), upper - x)
