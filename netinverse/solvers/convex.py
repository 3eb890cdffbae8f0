"""The convex inverse problem, where everything before the last activation is affine, by an uninterrupted convex method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from netinverse.operators.linear import norm_bound
from netinverse.operators.matrix import Matrix, assemble
from netinverse.problems import CompositeProblem, InverseProblem, Term
from netinverse.protocols import LinearMap
from netinverse.solvers.gap import made_feasible
from netinverse.solvers.interior_point import InteriorPoint, InteriorPointState
from netinverse.solvers.primal_dual import PrimalDual, PrimalDualState
from netinverse.solvers.semismooth_newton import SemismoothNewton, SemismoothNewtonState
from netinverse.tensors import norm

FACTOR_LIMIT = 2e11
"""Products of one Newton step: some seconds of one core."""


@dataclass(frozen=True)
class ConvexState:
    """``inner`` solves the composite problem; z(x) = K x + ``offset``, ||K|| <= ``size``, and x is about ``scale`` large."""

    inner: PrimalDualState | InteriorPointState | SemismoothNewtonState
    residual: Tensor
    offset: Tensor
    size: Tensor
    scale: Tensor

    @property
    def x(self) -> Tensor:
        return self.inner.x

    @property
    def objective(self) -> Tensor:
        return self.inner.objective

    @property
    def optimality(self) -> Tensor:
        return self.inner.optimality

    @property
    def stalled(self) -> Tensor:
        return self.inner.stalled

    @property
    def duals(self) -> tuple[Tensor, ...]:
        return self.inner.best.duals

    @property
    def primal_weight(self) -> Tensor:
        return self.inner.primal_weight


@dataclass(frozen=True)
class Convex:
    """min over x in C of G(K x + c) + alpha R(x), to its duality gap; one step is one of ``inner``.

    For an ``InverseProblem`` that is ``affine``. The map and its norm are found once, at the first start.
    """

    inner: PrimalDual | InteriorPoint | SemismoothNewton = field(default_factory=PrimalDual)

    @property
    def look_every(self) -> int:
        return getattr(self.inner, "look_every", 1)

    def init(self, problem: InverseProblem, x: Tensor, warm: ConvexState | None = None) -> ConvexState:
        """Start at x, or at the duals of the state ``warm`` of another alpha."""
        x = problem.feasible(x)
        value, derivative = problem.variable.linearise(x)
        if warm is not None:
            # The offset of a state that comes from fewer digits has only these.
            warm = replace(warm, offset=value - derivative(x))
            inner = self.inner.init(self._composite(problem, warm, derivative), x, warm.duals, warm.primal_weight)
            return replace(warm, inner=inner, residual=problem.residual(inner.x))
        size = norm_bound(derivative, x)
        scale = data_scale(problem, value, size, x)
        convex = composite(problem, x, Term(problem.term, derivative, size, value - derivative(x)), scale)
        # The duals of R are about alpha long: their ratio to x in the units of the primal-dual method.
        weight = problem.alpha * problem.regulariser.transform_norm(tuple(x.shape[1:])) / scale
        return ConvexState(self.inner.init(convex, x, None, weight), problem.residual(x), value - derivative(x), size, scale)

    def step(self, problem: InverseProblem, state: ConvexState) -> ConvexState:
        convex = self._composite(problem, state, problem.variable.linearise(state.x)[1])
        inner = self.inner.step(convex, state.inner)  # type: ignore[arg-type]  # init gave the state of this very method
        return replace(state, inner=inner, residual=problem.residual(inner.x))

    def made_feasible(self, problem: InverseProblem, state: ConvexState) -> tuple[str, ...]:
        """How the dual point was made feasible that certifies each sample: by scaling, or by a bounded domain."""
        convex = self._composite(problem, state, problem.variable.linearise(state.x)[1])
        return made_feasible(convex, state.x, state.duals)

    def _composite(self, problem: InverseProblem, state: ConvexState, derivative: LinearMap) -> CompositeProblem:
        return composite(problem, state.x, Term(problem.term, derivative, state.size, state.offset), state.scale)


def composite(problem: InverseProblem, x: Tensor, data_term: Term, scale: Tensor) -> CompositeProblem:
    """The problem with ``data_term`` in place of G(z(x))."""
    return CompositeProblem((data_term, problem.penalty_term(tuple(x.shape[1:]))), problem.constraint, scale)


def factorised(problem: InverseProblem, x: Tensor) -> tuple[InverseProblem, InteriorPoint | SemismoothNewton] | None:
    """The problem with its map as a dense matrix and a method that factorises; None where there is none, or it should not.

    It should where a Newton step is within ``FACTOR_LIMIT``: about width * height * rows * (width + rows) products for total
    variation, rows * columns * the smaller of the two for Tikhonov.
    """
    shape, columns = tuple(x.shape[1:]), x.shape[1:].numel()
    rows = problem.data[0].numel() if problem.data.shape[0] else 0
    like = composite(
        problem, x, Term(problem.term, Matrix(x.new_zeros(0, 0), problem.data.shape[1:], shape), problem.alpha), problem.alpha
    )
    for method, products in (
        (InteriorPoint(), columns * rows * (shape[-1] + rows)),
        (SemismoothNewton(), rows * columns * min(rows, columns)),
    ):
        if 0 < products <= FACTOR_LIMIT and method.suits(like):
            return replace(problem, variable=assemble(problem.variable, x)), method
    return None


def data_scale(problem: InverseProblem, value: Tensor, size: Tensor, x: Tensor) -> Tensor:
    """How large the entries of x are, to an order of magnitude, (batch,): ||grad G(z)|| / (||K|| sqrt(n)), or those of the start.

    With x it grows and shrinks in proportion to the data. Where both vanish there is nothing to be found, and it is 1.
    """
    entries = x[0].numel()
    asked = norm(problem.term.gradient(value)) / (size * entries**0.5)
    scale = torch.maximum(asked, norm(x) / entries**0.5)
    return torch.where((scale > 0) & torch.isfinite(scale), scale, torch.ones_like(scale))
