"""Restarted primal-dual method for convex composite problems, with the duality gap as its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from netinverse.problems import CompositeProblem
from netinverse.prox import prox_conjugate
from netinverse.solvers.gap import duality_gap, pull_back
from netinverse.tensors import choose, norm, per_sample


@dataclass(frozen=True)
class Point:
    """A primal-dual pair: x, and one dual variable for each term."""

    x: Tensor
    duals: tuple[Tensor, ...]


@dataclass(frozen=True)
class PrimalDualState:
    """``best`` is the pair with the smallest gap so far; ``iterate`` runs on, and need not lie in the domains; ``mean`` averages
    the pairs that it was mapped to since the last restart.
    """

    best: Point
    objective: Tensor
    optimality: Tensor
    stalled: Tensor
    iterate: Point
    mean: Point
    anchor: Point
    primal_weight: Tensor
    gap_at_restart: Tensor
    length: Tensor
    iterations: Tensor

    @property
    def x(self) -> Tensor:
        return self.best.x


@dataclass(frozen=True)
class PrimalDual:
    """min over x in C of sum_i f_i(K_i x + c_i): x+ = P_C(x - t K^T q), q_i+ = prox_{s_i f_i*}(q_i + s_i (K_i (2x+ - x) + c_i)),
    and the next pair is (x, q) + ``relaxation`` ((x+, q+) - (x, q)), between 0 and 2.

    Each K_i is scaled by its own norm bound L_i, so that s_i = s/L_i^2 and t s <= 1/number of terms: convergence needs nothing
    of the user. The primal weight w (t = e/w, s = e w) balances the distances travelled since the last restart; a restart
    takes the better of the current and the average pair. Averages, restarts and weights are kept per sample.

    One step is ``iterations_per_step`` iterations and one look at the duality gap (``netinverse.solvers.gap``).

    Chambolle & Pock, J. Math. Imaging Vis. 40, 2011; over-relaxation: Condat, J. Optim. Theory Appl. 158, 2013; restarts and
    primal weight: Applegate et al., NeurIPS 2021.
    """

    iterations_per_step: int = 25
    relaxation: float = 1.8
    look_every: ClassVar[int] = 4
    """No step reads anything on the host: on an accelerator the loop may look at several of them at once."""

    def init(
        self,
        problem: CompositeProblem,
        x: Tensor,
        duals: tuple[Tensor, ...] | None = None,
        primal_weight: Tensor | None = None,
    ) -> PrimalDualState:
        """Start at x; ``duals`` and ``primal_weight`` of a related problem warm-start the method."""
        for term in problem.terms:
            missing = [name for name in ("prox", "conjugate") if not callable(getattr(term.function, name, None))]
            if missing:
                raise TypeError(
                    f"PrimalDual: the function {type(term.function).__name__} of a term has no {' and no '.join(missing)}, so it "
                    f"can neither be stepped on nor be certified. Each term has to be a convex function with both, such as "
                    f"ni.L1(), behind a linear map."
                )
        x = problem.feasible(x)
        if duals is None:
            duals = tuple(torch.zeros_like(term.image(x)) for term in problem.terms)
        point = inside(problem, Point(x, duals))  # the duals may be those of another problem
        value, gap = duality_gap(problem, point.x, point.duals)
        ones = torch.ones_like(value)
        return PrimalDualState(
            best=point,
            objective=value,
            optimality=gap,
            stalled=torch.zeros_like(ones, dtype=torch.bool),
            iterate=point,
            mean=point,
            anchor=point,
            primal_weight=ones if primal_weight is None else primal_weight,
            gap_at_restart=torch.full_like(ones, torch.inf),
            length=torch.zeros_like(ones),
            iterations=torch.zeros_like(ones),
        )

    def step(self, problem: CompositeProblem, state: PrimalDualState) -> PrimalDualState:
        norms = tuple(term.norm for term in problem.terms)
        iterate, last, stretch = self._advance(problem, state.iterate, state.primal_weight)
        length = state.length + self.iterations_per_step
        mean = _blend(state.mean, stretch, self.iterations_per_step / length)
        mean = replace(mean, x=problem.feasible(mean.x))  # rounding leaves the set
        values, gaps = duality_gap(problem, last.x, last.duals)
        mean_values, mean_gaps = duality_gap(problem, mean.x, mean.duals)
        take_mean = mean_gaps < gaps
        candidate = choose(take_mean, mean, last)
        value, gap = torch.where(take_mean, mean_values, values), torch.where(take_mean, mean_gaps, gaps)
        # not(>=) lets a NaN through, so that the loop sees a divergence at the step where it appears.
        better = ~(gap >= state.optimality)
        iterations = state.iterations + self.iterations_per_step
        # Sufficient decrease, or a long stretch: the two thresholds of cuPDLP.jl (Lu & Yang, arXiv:2311.12180).
        restart = (gap <= 0.2 * state.gap_at_restart) | (length >= 0.36 * iterations)
        weight = torch.where(restart, balanced(norms, state.primal_weight, state.anchor, candidate), state.primal_weight)
        iterate = choose(restart, candidate, iterate)
        return PrimalDualState(
            best=choose(better, candidate, state.best),
            objective=torch.where(better, value, state.objective),
            optimality=torch.where(better, gap, state.optimality),
            stalled=restart & _at_rest(norms, state.anchor, candidate),
            iterate=iterate,
            mean=choose(restart, candidate, mean),
            anchor=choose(restart, candidate, state.anchor),
            primal_weight=weight,
            gap_at_restart=torch.where(restart, gap, state.gap_at_restart),
            length=torch.where(restart, torch.zeros_like(length), length),
            iterations=iterations,
        )

    def _advance(self, problem: CompositeProblem, start: Point, primal_weight: Tensor) -> tuple[Point, Point, Point]:
        """``iterations_per_step`` iterations: where they lead, the last pair (x+, q+), and the mean of all these."""
        terms, n = problem.terms, self.iterations_per_step
        size = 0.99 / len(terms) ** 0.5
        primal_step = per_sample(size / primal_weight, start.x)
        x, duals = start.x, start.duals
        dual_steps = tuple(size * primal_weight / t.norm**2 for t in terms)
        broad = tuple(per_sample(s, q) for s, q in zip(dual_steps, duals, strict=True))
        images = tuple(t.image(x) for t in terms)
        mean_x, mean_duals = torch.zeros_like(x), tuple(torch.zeros_like(q) for q in duals)
        for _ in range(n):
            new_x = problem.feasible(torch.addcmul(x, primal_step, pull_back(problem, duals), value=-1))
            new_images = tuple(t.image(new_x) for t in terms)
            new_duals = tuple(
                prox_conjugate(t.function, torch.addcmul(q, b, t.shifted(torch.lerp(old, new, 2.0))), s)
                for t, q, s, b, new, old in zip(terms, duals, dual_steps, broad, new_images, images, strict=True)
            )
            # Sums of this step's own, and the only ones that are written to.
            mean_x.add_(new_x, alpha=1 / n)
            for mean, q in zip(mean_duals, new_duals, strict=True):
                mean.add_(q, alpha=1 / n)
            x = torch.lerp(x, new_x, self.relaxation)
            images = _relaxed(images, new_images, self.relaxation)
            duals = _relaxed(duals, new_duals, self.relaxation)
        return Point(x, duals), Point(new_x, new_duals), Point(mean_x, mean_duals)


def balanced(norms: Sequence[Tensor], weight: Tensor, before: Point, after: Point) -> Tensor:
    """w <- sqrt(w * dual distance / primal distance) on the way between two pairs; ``norms``: ||K_i||, one for each dual."""
    primal, dual, size, length = _distances(norms, before, after)
    # Distances at the level of rounding say nothing; no length but those of the problem itself tells where that is.
    rounding = max(1e-12, 16 * torch.finfo(dual.dtype).eps)
    usable = (primal > rounding * size) & (dual > rounding * length)
    return torch.where(usable, (weight * dual / primal).sqrt(), weight)


def _at_rest(norms: Sequence[Tensor], before: Point, after: Point) -> Tensor:
    """Where a pair did not move, up to rounding: at a fixed point."""
    primal, dual, size, length = _distances(norms, before, after)
    rounding = 4 * torch.finfo(dual.dtype).eps
    return (primal <= rounding * size) & (dual <= rounding * length)


def _distances(norms: Sequence[Tensor], before: Point, after: Point) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The primal and the dual distance of two pairs, each dual in units of its norm bound, and how long they are themselves."""
    squares = [(bound * norm(q - a)).square() for bound, q, a in zip(norms, after.duals, before.duals, strict=True)]
    length = torch.stack([bound * norm(q) for bound, q in zip(norms, after.duals, strict=True)]).amax(0)
    return norm(after.x - before.x), torch.stack(squares).sum(0).sqrt(), norm(after.x), length


def inside(problem: CompositeProblem, point: Point) -> Point:
    """With x and the duals in their domains: a prox of f* at a vanishing step projects, and leaves a point inside where it is."""
    duals = tuple(prox_conjugate(t.function, q, 1e-9) for t, q in zip(problem.terms, point.duals, strict=True))
    return Point(problem.feasible(point.x), duals)


def _relaxed(old: tuple[Tensor, ...], new: tuple[Tensor, ...], relaxation: float) -> tuple[Tensor, ...]:
    return tuple(torch.lerp(o, n, relaxation) for o, n in zip(old, new, strict=True))


def _blend(old: Point, new: Point, share: Tensor) -> Point:
    """(1 - share) old + share new, per sample."""
    duals = tuple(torch.lerp(o, n, per_sample(share, o)) for o, n in zip(old.duals, new.duals, strict=True))
    return Point(torch.lerp(old.x, new.x, per_sample(share, old.x)), duals)
