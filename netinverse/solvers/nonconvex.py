"""The inverse problem behind a network that bends before its last activation: iterations that relinearise, then Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from netinverse.problems import InverseProblem
from netinverse.solvers.gauss_newton import GaussNewton
from netinverse.solvers.nonlinear_primal_dual import NonlinearPrimalDual
from netinverse.solvers.relinearised import Relinearised, begun
from netinverse.solvers.stationarity import fidelity_gradient, measured, polish
from netinverse.tensors import choose, per_sample, scatter, select


@dataclass(frozen=True)
class NonconvexState:
    """``current``: where a sample is, and with which solver, as ``by_newton`` says. ``best``: where its objective was least at
    this alpha before Gauss-Newton, and ``waited``: how many steps ago. ``on_its_way``: where the current point is no answer, so
    that the best one is, should the steps end here.
    """

    current: Relinearised
    best: Relinearised
    by_newton: Tensor
    waited: Tensor
    on_its_way: Tensor

    @cached_property
    def answer(self) -> Relinearised:
        return choose(self.on_its_way, self.best, self.current)

    @property
    def x(self) -> Tensor:
        return self.answer.x

    @property
    def objective(self) -> Tensor:
        return self.answer.objective

    @property
    def residual(self) -> Tensor:
        return self.answer.residual

    @property
    def optimality(self) -> Tensor:
        return self.answer.optimality

    @property
    def stalled(self) -> Tensor:
        return self.current.stalled

    @property
    def duals(self) -> tuple[Tensor, ...]:
        return self.answer.duals

    @property
    def primal_weight(self) -> Tensor:
        return self.answer.primal_weight


@dataclass(frozen=True)
class Nonconvex:
    """min over x in C of G(z(x)) + alpha R(x), z not affine: ``first`` goes far in little time, ``newton`` ends what it does not.

    Where a step of ``first`` changes the residual by at most ``near`` times what it was (by default some thousandths, to which
    rules tell residuals apart), proximal-gradient steps follow and the stationarity residual is measured; before, the optimality
    is infinite. Where it stalls, or has found no lower objective for
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
        current = begun(problem, x, None if warm is None else warm.answer)
        no = torch.zeros_like(current.stalled)
        return NonconvexState(current, current, no, torch.zeros_like(current.objective), no)

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
        part, answer = problem.select(unknown), select(state.answer, unknown)
        gradient = fidelity_gradient(part, answer.x)
        found, _ = measured(part, answer.x, gradient, _slope(part, answer), self.newton.tolerance)
        return state.optimality.index_copy(0, unknown, found.residual)

    def _iterate(self, problem: InverseProblem, state: NonconvexState) -> NonconvexState:
        current, before = self.first.step(problem, state.current), state.current.residual
        lost, change = current.stalled, (current.residual - before).abs()
        near = (~lost & (change <= self.near * before)).nonzero().flatten()
        if len(near):
            current = scatter(current, near, self._polished(problem.select(near), select(current, near)))
        lower = current.objective < state.best.objective
        best, waited = choose(lower, current, state.best), torch.where(lower, 0, state.waited + 1)
        by_newton = lost | (waited >= self.patience)
        current = replace(choose(by_newton, best, current), stalled=~lost & (change < self.settled * before))
        ended = current.stalled | (current.optimality <= self.newton.tolerance * current.objective)
        return NonconvexState(current, best, by_newton, waited, on_its_way=~ended & (best.objective < current.objective))

    def _finish(self, problem: InverseProblem, state: NonconvexState) -> NonconvexState:
        return replace(state, current=self.newton.step(problem, state.current))

    def _polished(self, problem: InverseProblem, state: Relinearised) -> Relinearised:
        tolerance, steps, dual = self.newton.tolerance, self.newton.polishing_steps, _slope(problem, state)
        end = polish(problem, state.x, state.objective, state.size, dual, tolerance=tolerance, steps=steps)
        last, size = measured(problem, end.x, end.gradient, end.trial.dual, tolerance)
        return replace(
            state,
            x=end.x,
            objective=torch.where(torch.isnan(last.residual), torch.nan, end.objective),
            residual=problem.residual(end.x),
            optimality=last.residual,
            duals=(state.duals[0], per_sample(problem.alpha, last.dual) * last.dual),
            size=size,
        )


def _slope(problem: InverseProblem, state: Relinearised) -> Tensor:
    """p of the dual alpha p."""
    return state.duals[1] / per_sample(problem.alpha, state.duals[1])
