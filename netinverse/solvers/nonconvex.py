"""The inverse problem behind a network that bends before its last activation: iterations that relinearise, then Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from netinverse.operators.linear import norm_bound
from netinverse.problems import InverseProblem
from netinverse.solvers.gauss_newton import GaussNewton, GaussNewtonState, begun
from netinverse.solvers.nonlinear_primal_dual import NonlinearPrimalDual
from netinverse.solvers.stationarity import Polished, polish
from netinverse.tensors import choose, per_sample, scatter, select


@dataclass(frozen=True)
class NonconvexState:
    """``current``: where a sample is, and with which solver, as ``by_newton`` says. ``best``: where its objective was least at
    this alpha before Gauss-Newton, and ``waited``: how many steps ago.
    """

    current: GaussNewtonState
    best: GaussNewtonState
    by_newton: Tensor
    waited: Tensor

    @property
    def x(self) -> Tensor:
        return self.current.x

    @property
    def objective(self) -> Tensor:
        return self.current.objective

    @property
    def residual(self) -> Tensor:
        return self.current.residual

    @property
    def optimality(self) -> Tensor:
        return self.current.optimality

    @property
    def stalled(self) -> Tensor:
        return self.current.stalled

    @property
    def duals(self) -> tuple[Tensor, ...]:
        return self.current.duals

    @property
    def primal_weight(self) -> Tensor:
        return self.current.primal_weight


@dataclass(frozen=True)
class Nonconvex:
    """min over x in C of G(z(x)) + alpha R(x), z not affine: ``first`` goes far in little time, ``newton`` ends what it does not.

    Where a step of ``first`` changes the residual by at most ``near`` times what it was, proximal-gradient steps follow and the
    stationarity residual is measured; before, the optimality is infinite. Where it stalls, or has found no lower objective for
    ``patience`` steps, as at a kink of the network around which it circles, Gauss-Newton goes on from the best point, and never
    raises the objective again. ``settled``: a step that changes the residual by less than so many times what it was is the last,
    whatever the optimality.
    """

    first: NonlinearPrimalDual = field(default_factory=NonlinearPrimalDual)
    newton: GaussNewton = field(default_factory=GaussNewton)
    near: float = 2e-3
    patience: int = 4
    settled: float = 0.0

    def init(self, problem: InverseProblem, x: Tensor, warm: NonconvexState | None = None) -> NonconvexState:
        """Start at x, or at the state ``warm`` of another alpha."""
        current = begun(problem, x, None if warm is None else warm.current)
        return NonconvexState(current, current, torch.zeros_like(current.stalled), torch.zeros_like(current.objective))

    def step(self, problem: InverseProblem, state: NonconvexState) -> NonconvexState:
        """One of the solver that a sample is with; samples that have ended wait for the others without it."""
        going_on = ~state.stalled & ~(state.optimality <= self.newton.tolerance * state.objective)
        for those, advance in ((~state.by_newton, self._iterate), (state.by_newton, self._finish)):
            samples = (going_on & those).nonzero().flatten()
            if len(samples):
                state = scatter(state, samples, advance(problem.select(samples), select(state, samples)))
        return state

    def optimality(self, problem: InverseProblem, state: NonconvexState) -> Tensor:
        """The stationarity residual, also of those samples whose optimality was not measured."""
        unknown = torch.isinf(state.optimality).nonzero().flatten()
        if not len(unknown):
            return state.optimality
        found, _ = self._measured(problem.select(unknown), select(state.current, unknown), steps=0)
        return state.optimality.index_copy(0, unknown, found.residual)

    def _iterate(self, problem: InverseProblem, state: NonconvexState) -> NonconvexState:
        current, before = self.first.step(problem, state.current), state.residual
        lost, change = current.stalled, (current.residual - before).abs()
        near = (~lost & (change <= self.near * before)).nonzero().flatten()
        if len(near):
            current = scatter(current, near, self._polished(problem.select(near), select(current, near)))
        lower = current.objective < state.best.objective
        best, waited = choose(lower, current, state.best), torch.where(lower, 0, state.waited + 1)
        by_newton = lost | (waited >= self.patience)
        current = replace(choose(by_newton, best, current), stalled=~lost & (change < self.settled * before))
        return NonconvexState(current, best, by_newton, waited)

    def _finish(self, problem: InverseProblem, state: NonconvexState) -> NonconvexState:
        return replace(state, current=self.newton.step(problem, state.current))

    def _polished(self, problem: InverseProblem, state: GaussNewtonState) -> GaussNewtonState:
        end, size = self._measured(problem, state, self.newton.polishing_steps)
        objective = torch.where(torch.isnan(end.residual), torch.nan, end.objective)
        residual = problem.residual(end.x)
        return replace(state, x=end.x, objective=objective, residual=residual, optimality=end.residual, size=size)

    def _measured(self, problem: InverseProblem, state: GaussNewtonState, steps: int) -> tuple[Polished, Tensor]:
        size = norm_bound(problem.variable.linearise(state.x)[1], state.x)
        dual = state.duals[1] / per_sample(problem.alpha, state.duals[1])
        return polish(problem, state.x, state.objective, size, dual, tolerance=self.newton.tolerance, steps=steps), size
