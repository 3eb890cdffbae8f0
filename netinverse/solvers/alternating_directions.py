"""Alternating directions for total variation behind one dense layer: the primal-dual method with an exact step in x."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from netinverse.operators.matrix import Matrix
from netinverse.problems import CompositeProblem
from netinverse.prox import prox_conjugate
from netinverse.solvers.feasible_dual import inverse_laplacian
from netinverse.solvers.gap import duality_gap
from netinverse.solvers.primal_dual import Point, balanced, inside
from netinverse.tensors import choose, per_sample

SHIFT = 1e-3
"""Of K^T K, whose largest eigenvalue is near 8: constants, which the differences do not see, take finite steps."""
CONSTRAINED = 0.3
"""The square of what the norm of the identity counts as, where x is constrained."""

RELAXATION = 1.5
"""Of all variables, beyond an iteration: 1.8 takes a fifth more of them, and 1 half as many again."""


@dataclass(frozen=True)
class Metric:
    """M = V^T V + K^T K/||K||^2 + shift/||K||^2, V = W/||W||, inverted by cosine transforms and Woodbury's identity.

    With B = ||K||^2 (K^T K + shift)^-1: ``filtered`` V B, ``gram`` V B V^T and ``small`` (1 + V B V^T)^-1; ``steep`` ||K||^2.
    """

    filtered: Tensor
    gram: Tensor
    small: Tensor
    steep: float
    shift: float

    @classmethod
    def of(cls, scaled: Tensor, columns: tuple[int, ...], steep: float, shift: float) -> Metric:
        """``scaled`` is V, (rows, product of ``columns``)."""
        filtered = steep * inverse_laplacian(scaled.reshape(-1, *columns), shift).flatten(1)
        gram = filtered @ scaled.T
        root, _ = torch.linalg.cholesky_ex(gram + torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
        return cls(filtered, gram, torch.cholesky_inverse(root), steep, shift)

    def solve(self, p: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """d = M^-1 (p + V^T y) and V d, to the precision of M. Shapes: p (batch, channels, height, width), y (batch, *rows)."""
        low, low_y = p.to(self.gram.dtype), y.flatten(1).to(self.gram.dtype)
        along = (low.flatten(1) @ self.filtered.T + low_y @ self.gram) @ self.small
        d = self.steep * inverse_laplacian(low, self.shift) + ((low_y - along) @ self.filtered).reshape_as(p)
        return d.to(p.dtype), along.to(y.dtype).reshape_as(y)


@dataclass(frozen=True)
class AlternatingState:
    """``best`` is the pair with the smallest gap so far; ``force`` is the dual of the constraint."""

    best: Point
    objective: Tensor
    optimality: Tensor
    stalled: Tensor
    iterate: Point
    force: Tensor
    primal_weight: Tensor
    iterations: Tensor

    @property
    def x(self) -> Tensor:
        return self.best.x


@dataclass(frozen=True)
class AlternatingDirections:
    """min over x in C of G(W x + c) + R(K x), K the differences: x+ = x - M^-1 sum_i K_i^T q_i/w, q_i+ as in ``PrimalDual``.

    With M = sum_i K_i^T K_i/||K_i||^2, where C counts as a function of x, and w/||K_i||^2 for the steps of the duals this is the
    alternating direction method of multipliers: some dozens of iterations to a few per cent, each with two products with the
    matrix, where the primal-dual method needs hundreds. It is over-relaxed; the primal weight w is balanced at every look.
    Chambolle & Pock, J. Math. Imaging Vis. 40, 2011, section 4.3.
    """

    metric: Metric
    iterations_per_step: int = 15
    look_every: ClassVar[int] = 4

    @classmethod
    def of(cls, problem: CompositeProblem) -> AlternatingDirections:
        """For the matrix of the problem. Its metric is in single precision: the products wait for memory."""
        data, penalty = problem.terms
        assert isinstance(data.map, Matrix)
        steep = float(penalty.norm.square().amax()) if penalty.norm.numel() else 1.0
        size = data.norm.amax() if data.norm.numel() else data.norm.new_ones(())
        shift = SHIFT if problem.constraint is None else SHIFT + steep * CONSTRAINED
        return cls(Metric.of((data.map.weight / size).to(torch.float32), data.map.columns, steep, shift))

    def init(
        self, problem: CompositeProblem, x: Tensor, duals: tuple[Tensor, ...] | None = None, primal_weight: Tensor | None = None
    ) -> AlternatingState:
        """Start at x; ``duals`` and ``primal_weight`` of a related problem warm-start the method."""
        if duals is None:
            duals = tuple(torch.zeros_like(term.image(x)) for term in problem.terms)
        point = inside(problem, Point(x, duals))
        value, gap = duality_gap(problem, point.x, point.duals)
        ones = torch.ones_like(value)
        return AlternatingState(
            best=point,
            objective=value,
            optimality=gap,
            stalled=torch.zeros_like(ones, dtype=torch.bool),
            iterate=point,
            force=torch.zeros_like(x),
            primal_weight=ones if primal_weight is None else primal_weight,
            iterations=torch.zeros_like(ones),
        )

    def step(self, problem: CompositeProblem, state: AlternatingState) -> AlternatingState:
        iterate, force = self._advanced(problem, state)
        point = inside(problem, iterate)
        value, gap = duality_gap(problem, point.x, point.duals)
        better = ~(gap >= state.optimality)
        return AlternatingState(
            best=choose(better, point, state.best),
            objective=torch.where(better, value, state.objective),
            optimality=torch.where(better, gap, state.optimality),
            stalled=state.stalled,
            iterate=iterate,
            force=force,
            primal_weight=balanced([term.norm for term in problem.terms], state.primal_weight, state.iterate, iterate),
            iterations=state.iterations + self.iterations_per_step,
        )

    def _advanced(self, problem: CompositeProblem, state: AlternatingState) -> tuple[Point, Tensor]:
        (data, penalty), constraint, metric = problem.terms, problem.constraint, self.metric
        x, (y, q), force, w = state.iterate.x, state.iterate.duals, state.force, state.primal_weight
        z = data.shifted(data.image(x))
        steps = (w / data.norm.square(), w / metric.steep, w * CONSTRAINED)
        s_y, s_q, s_force = (per_sample(step, dual) for step, dual in zip(steps, (y, q, force), strict=True))
        # The metric sees x in units of its scale, which leaves room in single precision.
        unit = torch.as_tensor(problem.scale, dtype=x.dtype, device=x.device).expand_as(w)
        size_x, size_p = per_sample(unit, x), per_sample(unit * w, x)
        size_z, size_y = per_sample(unit * data.norm, z), per_sample(unit * w / data.norm, z)
        for _ in range(self.iterations_per_step):
            dx, dz = metric.solve((penalty.map.adjoint(q) + force) / size_p, y / size_y)
            dx, dz = size_x * dx, size_z * dz
            ahead = x - 2 * dx
            new_y = prox_conjugate(data.function, y + s_y * (z - 2 * dz), steps[0])
            new_q = prox_conjugate(penalty.function, q + s_q * penalty.map(ahead), steps[1])
            if constraint is not None:
                new_force = prox_conjugate(constraint, force + s_force * ahead, steps[2])
                force = torch.lerp(force, new_force, RELAXATION)
            x, z = x - RELAXATION * dx, z - RELAXATION * dz
            y, q = torch.lerp(y, new_y, RELAXATION), torch.lerp(q, new_q, RELAXATION)
        return Point(x, (y, q)), force
