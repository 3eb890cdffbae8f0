"""Gauss-Newton for G(z(x)) + alpha R(x) over x in C: linearise z only, keep everything convex as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netinverse.operators.linear import norm_bound
from netinverse.problems import InverseProblem, Term
from netinverse.solvers.convex import composite
from netinverse.solvers.iterate import solve
from netinverse.solvers.primal_dual import PrimalDual, PrimalDualState
from netinverse.solvers.relinearised import Relinearised, begun
from netinverse.solvers.stationarity import measured, polish
from netinverse.tensors import choose, norm, per_sample


@dataclass(frozen=True)
class GaussNewton:
    """x+ = x + s (x_hat - x), x_hat minimising G(z(x) + z'(x)(x_hat - x)) + alpha R(x_hat) over C, s by backtracking.

    The linearised problem is convex and is solved by ``PrimalDual`` until its duality gap is at most ``forcing`` times the
    decrease it promises, or ``inner_tolerance`` times the objective. x_hat - x is then a descent direction, and s is
    the largest of 1, 1/2, 1/4, ... that brings the objective down by a hundredth of s times that promise. Up to
    ``polishing_steps`` proximal-gradient steps follow. A step that changes the residual by less than ``settled`` times what it
    was is the last. The optimality is the stationarity residual of
    ``netinverse.solvers.stationarity``. Where z is affine, ``netinverse.solvers.convex`` solves the problem without steps.

    Convex composite Gauss-Newton: Burke, Math. Program. 33, 1985. Keeping the last activation's Bregman penalty convex and
    linearising only its argument is what the lifted formulation adds.
    """

    forcing: float = 0.5
    tolerance: float = 1e-6
    inner_tolerance: float = 1e-4
    max_inner_steps: int = 20
    max_halvings: int = 14
    polishing_steps: int = 100
    settled: float = 0.0
    inner: PrimalDual = field(default_factory=PrimalDual)

    def init(self, problem: InverseProblem, x: Tensor, warm: Relinearised | None = None) -> Relinearised:
        """Start at x, or at the state ``warm`` of another alpha."""
        return begun(problem, x, warm)

    def step(self, problem: InverseProblem, state: Relinearised) -> Relinearised:
        value, derivative = problem.variable.linearise(state.x)
        size = norm_bound(derivative, state.x)
        found = self._solve_linearised(problem, state, Term(problem.term, derivative, size, value - derivative(state.x)))
        promised = state.objective - found.objective
        x, objective, moved = self._backtrack(problem, state, found.x - state.x, promised)
        dual = found.best.duals[1] / per_sample(problem.alpha, found.best.duals[1])
        end = polish(problem, x, objective, size, dual, tolerance=self.tolerance, steps=self.polishing_steps)
        last, size = measured(problem, end.x, end.gradient, end.trial.dual, self.tolerance)
        residual = problem.residual(end.x)
        # p in dg(K .) of the nearer one: x_hat, or where a proximal-gradient step leads.
        nearer = norm(last.x - end.x) < norm(found.x - end.x)
        duals = (found.best.duals[0], choose(nearer, per_sample(problem.alpha, last.dual) * last.dual, found.best.duals[1]))
        return Relinearised(
            x=end.x,
            # A step that ends where the derivative is NaN is no step: the loop keeps the state before it.
            objective=torch.where(torch.isnan(last.residual), torch.nan, end.objective),
            residual=residual,
            optimality=last.residual,
            stalled=~(moved | end.moved) | ((residual - state.residual).abs() < self.settled * state.residual),
            duals=duals,
            primal_weight=found.primal_weight,
            scale=state.scale,
            size=size,
        )

    def _solve_linearised(self, problem: InverseProblem, state: Relinearised, data_term: Term) -> PrimalDualState:
        convex = composite(problem, state.x, data_term, state.scale)
        start = self.inner.init(convex, state.x, state.duals, state.primal_weight)
        return solve(self.inner, convex, start, stop=self._good_enough(state.objective), max_steps=self.max_inner_steps).state

    def _good_enough(self, objective: Tensor) -> Callable[[PrimalDualState], Tensor]:
        def stop(inner: PrimalDualState) -> Tensor:
            floor = self.inner_tolerance * inner.objective.abs()
            return inner.optimality <= torch.maximum(self.forcing * (objective - inner.objective), floor)

        return stop

    def _backtrack(
        self, problem: InverseProblem, state: Relinearised, direction: Tensor, promised: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The new x, its objective, and where the step was not zero."""
        share = torch.ones_like(promised)
        taken = torch.zeros_like(promised, dtype=torch.bool)
        x, objective = state.x, state.objective
        for _ in range(self.max_halvings):
            trial = problem.feasible(state.x + per_sample(share, direction) * direction)  # rounding leaves the set
            value = problem.objective(trial)
            enough = ~taken & (promised > 0) & (value <= state.objective - 0.01 * share * promised)
            x = torch.where(per_sample(enough, x).bool(), trial, x)
            objective = torch.where(enough, value, objective)
            taken = taken | enough
            if bool((taken | (promised <= 0)).all()):
                break
            share = torch.where(taken, share, share / 2)
        return x, objective, taken
