"""Interior-point method for total variation behind one dense layer: a dozen factorisations from a rough start to rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.fidelities import BregmanTerm
from netinverse.operators.differences import Gradient
from netinverse.operators.matrix import Matrix
from netinverse.problems import CompositeProblem
from netinverse.prox import L1, Box, GroupL21, NonNegative, Scaled
from netinverse.solvers.alternating_directions import AlternatingDirections
from netinverse.solvers.bends import bend_of
from netinverse.solvers.cones import central
from netinverse.solvers.gap import duality_gap
from netinverse.solvers.iterate import relative_optimality, solve
from netinverse.solvers.newton_step import newton_step
from netinverse.solvers.newton_system import Inner, Layer
from netinverse.solvers.primal_dual import Point
from netinverse.solvers.walls import Walls
from netinverse.tensors import choose, per_sample, select

SPREAD = 1e-3  # how far inside the constraint the start lies, in units of the largest entry of x


@dataclass(frozen=True)
class InteriorPointState:
    """``best`` is the pair with the smallest gap so far; ``idle`` counts the steps since then."""

    best: Point
    objective: Tensor
    optimality: Tensor
    stalled: Tensor
    inner: Inner
    idle: Tensor
    primal_weight: Tensor
    iterations: Tensor

    @property
    def x(self) -> Tensor:
        return self.best.x


@dataclass(frozen=True)
class InteriorPoint:
    """min over x in C of G(W x + b) + alpha ||K x||_{2,1} (or ||K x||_1), W dense, K differences of an image, C a box or none.

    Primal-dual path following with the corrections of Mehrotra and Gondzio. The cone |(K x)_i| <= t_i of each pixel is scaled
    after Nesterov and Todd, the corners of the activation and the ends of C are walls with a force mu/distance. Each step
    factorises K^T D K + W^T E W + diag(c) once (``netinverse.solvers.normal_equations``), sample by sample, so that memory does
    not grow with the batch and no sample depends on another. It starts on the central path near the first point of
    ``AlternatingDirections`` with a relative gap of ``first_gap``, or after ``warm_up_steps`` of their steps, with the products
    adding up to that gap.

    The certificate is the gap at x and the duals of the iterate, made feasible as in ``netinverse.solvers.gap``. A sample is
    ``stalled`` where rounding has made its system indefinite, and where the gap has not fallen for ``patience`` steps although
    the products are far below it.
    Mehrotra, SIAM J. Optim. 2, 1992; Gondzio, Comput. Optim. Appl. 6, 1996; Andersen, Roos & Terlaky, Math. Program. 95, 2003.
    """

    warm_up_steps: int = 20
    first_gap: float = 0.01
    patience: int = 6

    @staticmethod
    def suits(problem: CompositeProblem) -> bool:
        """True for the problems above: a data term by entries behind a ``Matrix``, and the total variation of an image."""
        if len(problem.terms) != 2:
            return False
        data, penalty = problem.terms
        function = penalty.function
        return (
            isinstance(data.map, Matrix)
            and len(data.map.columns) == 3
            and bend_of(data.function) is not None  # type: ignore[arg-type]
            and isinstance(penalty.map, Gradient)
            and isinstance(function, Scaled)
            and isinstance(function.function, L1 | GroupL21)
            and bool((torch.as_tensor(function.weight) > 0).all())
            and (problem.constraint is None or isinstance(problem.constraint, Box | NonNegative))
        )

    def init(
        self,
        problem: CompositeProblem,
        x: Tensor,
        duals: tuple[Tensor, ...] | None = None,
        primal_weight: Tensor | None = None,
    ) -> InteriorPointState:
        """Start at x; ``duals`` and ``primal_weight`` of a related problem warm-start the first iterations."""
        if not self.suits(problem):
            raise ValueError(
                "InteriorPoint: the problem is not the total variation, with a positive weight, of images (channels, height, "
                "width), free or in a Box or NonNegative, behind one dense Matrix, so that its Newton system has no known "
                "factorisation. Use PrimalDual(), which takes every convex composite problem."
            )
        quick = AlternatingDirections.of(problem)
        start = quick.init(problem, x, duals, primal_weight)
        enough = relative_optimality(self.first_gap)
        rough = solve(quick, problem, start, stop=enough, max_steps=self.warm_up_steps).state
        layer = Layer.of(problem, rough.x)
        return InteriorPointState(
            best=rough.best,
            objective=rough.objective,
            optimality=rough.optimality,
            stalled=torch.zeros_like(rough.stalled),
            inner=self._start(problem, layer, rough.best, rough.objective, rough.optimality),
            idle=torch.zeros_like(rough.objective),
            primal_weight=rough.primal_weight,
            iterations=rough.iterations,
        )

    def step(self, problem: CompositeProblem, state: InteriorPointState) -> InteriorPointState:
        layer = Layer.of(problem, state.x)
        moved = []
        for i in range(state.x.shape[0]):
            one = torch.tensor([i], device=state.x.device)
            moved.append(newton_step(layer.select(one), select(state.inner, one)))
        if not moved:
            return state
        inner = moved[0][0].joined([each[0] for each in moved[1:]])
        sound = torch.stack([each[1] for each in moved])
        point = Point(problem.feasible(inner.x), (_data_dual(problem, inner.y), layer.field(inner.q)))
        value, gap = duality_gap(problem, point.x, point.duals)
        better = sound & ~(gap >= state.optimality)
        idle = torch.where(better, torch.zeros_like(state.idle), state.idle + 1)
        return InteriorPointState(
            best=choose(better, point, state.best),
            objective=torch.where(better, value, state.objective),
            optimality=torch.where(better, gap, state.optimality),
            stalled=state.stalled
            | ~sound
            | ((idle >= self.patience) & (layer.products(inner) < 1e-4 * state.optimality))
            | (idle >= 30),
            inner=choose(sound, inner, state.inner),
            idle=idle,
            primal_weight=state.primal_weight,
            iterations=state.iterations + 1,
        )

    def _start(self, problem: CompositeProblem, layer: Layer, point: Point, objective: Tensor, gap: Tensor) -> Inner:
        """The point of the central path near a rough pair."""
        # All of the objective where the gap is larger.
        products = torch.minimum(torch.maximum(gap, self.first_gap * objective), objective)
        mu = (products / (layer.cones + layer.bend_walls + layer.walls)).clamp(min=torch.finfo(gap.dtype).tiny ** 0.5)
        size = point.x.flatten(1).abs().amax(1)
        scale = torch.maximum(size, torch.as_tensor(problem.scale, dtype=size.dtype, device=size.device))
        x, walls = Walls.around(point.x, layer.lower, layer.upper, SPREAD * scale, mu)
        field = layer.groups(problem.terms[1].image(point.x))
        mean = field.square().sum(1).sqrt().flatten(1).mean(1)
        rho = layer.alpha / (mean + 1e-3 * scale)
        (t, v), q = central(field + layer.groups(point.duals[1]) / per_sample(rho, field), rho, layer.alpha, mu)
        z = layer.pre_activation(x)
        u, bends = Walls.around(z, layer.bend_lower, layer.bend_upper, mu.sqrt(), mu)
        return Inner(x, t, v, q, layer.gradient(z, u), u, bends, walls)


def _data_dual(problem: CompositeProblem, y: Tensor) -> Tensor:
    """y inside dom G*: moved onto dom Psi - data by what rounding left outside, and that much smaller."""
    term = problem.terms[0].function
    if isinstance(term, BregmanTerm):
        y = y.reshape_as(term.data)
        u = y + term.data
        return (y + (term.potential.project(u) - u)) * (1 - 8 * torch.finfo(y.dtype).eps)
    return y.reshape(-1, *problem.terms[0].map.rows)  # type: ignore[attr-defined]
