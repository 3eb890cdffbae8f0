"""Lifted problems whose layers grow heavier, to the limit in which the activations are the network's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from netinverse.problems import LiftedProblem
from netinverse.solvers.block_descent import BlockDescent, BlockDescentState
from netinverse.solvers.gauss_newton import GaussNewton
from netinverse.solvers.relinearised import Relinearised
from netinverse.tensors import choose, per_sample, scatter, select


@dataclass(frozen=True)
class ContinuationState:
    """``stiffness``: what the layer weights are multiplied by, (batch,); inf once a sample solves the reduced problem.

    ``lifted`` and ``reduced``: the states of the two solvers; a sample is where the stiffness says, and its other state is old.
    """

    lifted: BlockDescentState
    reduced: Relinearised
    stiffness: Tensor
    optimality: Tensor
    stalled: Tensor

    @property
    def on_graph(self) -> Tensor:
        return torch.isinf(self.stiffness)

    @property
    def x(self) -> Tensor:
        return choose(self.on_graph, self.reduced.x, self.lifted.x)

    @property
    def objective(self) -> Tensor:
        return torch.where(self.on_graph, self.reduced.objective, self.lifted.objective)

    @property
    def residual(self) -> Tensor:
        return torch.where(self.on_graph, self.reduced.residual, self.lifted.residual)

    def dual(self, alpha: Tensor) -> Tensor:
        """p in dg(K x)."""
        dual = self.reduced.duals[1]
        return choose(self.on_graph, dual / per_sample(alpha, dual), self.lifted.dual)


@dataclass(frozen=True)
class Continuation:
    """E(x, u) + alpha R(x) for layer weights lambda, ``growth`` lambda, ``growth``^2 lambda, ..., and then for infinite ones.

    The lifted minimum lies below the reduced one and rises to it with the weights: sum_l lambda_l B_l(u_l, z_l) is at most the
    reduced minimum, so that ||u_l - sigma(z_l)||^2 <= 2 minimum / lambda_l. A sample's weights grow wherever ``rough`` times the
    objective bounds what a proximal-gradient step of the length that the first weights allow could still gain. Past ``last``
    times the first weights a sweep gains little, and the limit, where u_l = sigma(z_l), is left to Gauss-Newton. Between two
    changes of its weights a sample's objective never rises; at a change it does, as the weights do.

    ``last`` = 0: the weights stay. Samples that are on the graph already, from another alpha, stay there.
    """

    descent: BlockDescent = field(default_factory=BlockDescent)
    newton: GaussNewton = field(default_factory=GaussNewton)
    growth: float = 10.0
    last: float = 100.0
    rough: float = 1e-3

    def init(self, problem: LiftedProblem, x: Tensor, warm: ContinuationState | None = None) -> ContinuationState:
        """Start at x with the weights of the problem, or at the state ``warm`` of another alpha with its weights."""
        if warm is None:
            lifted, reduced = self.descent.init(problem, x), self.newton.init(problem.inverse, x)
            return ContinuationState(lifted, reduced, torch.ones_like(lifted.objective), lifted.optimality, lifted.stalled)
        finite = torch.where(warm.on_graph, torch.ones_like(warm.stiffness), warm.stiffness)
        lifted = self.descent.init(problem.stiffened(finite), x, warm.lifted)
        reduced = self.newton.init(problem.inverse, x, warm.reduced)
        return ContinuationState(lifted, reduced, warm.stiffness, lifted.optimality, lifted.stalled)

    def step(self, problem: LiftedProblem, state: ContinuationState) -> ContinuationState:
        """One of block descent for the samples whose weights are finite, one of Gauss-Newton for the others."""
        for on_graph, advance in ((False, self._descend), (True, self._reduce)):
            samples = (state.on_graph == on_graph).nonzero().flatten()
            if len(samples):
                state = scatter(state, samples, advance(problem.select(samples), select(state, samples)))
        return state

    def _reduce(self, problem: LiftedProblem, state: ContinuationState) -> ContinuationState:
        reduced = self.newton.step(problem.inverse, state.reduced)
        return replace(state, reduced=reduced, optimality=reduced.optimality, stalled=reduced.stalled)

    def _descend(self, problem: LiftedProblem, state: ContinuationState) -> ContinuationState:
        lifted = self.descent.step(problem.stiffened(state.stiffness), state.lifted)
        left = state.stiffness * lifted.optimality  # a step is as many times shorter as the layers are heavier
        settled = (left <= self.rough * lifted.objective) | lifted.stalled
        if self.last == 0 or not bool(settled.any()):
            waiting = torch.full_like(left, torch.inf) if self.last > 0 else left
            return replace(state, lifted=lifted, optimality=waiting, stalled=lifted.stalled & (self.last == 0))
        heavier = torch.where(settled, self.growth * state.stiffness, state.stiffness)
        begun = self.descent.init(problem.stiffened(heavier), lifted.x, lifted)
        reduced = self.newton.init(problem.inverse, lifted.x, state.reduced)
        return ContinuationState(
            lifted=choose(settled, begun, lifted),
            reduced=choose(settled, reduced, state.reduced),
            stiffness=torch.where(heavier > self.last, torch.inf, heavier),
            optimality=torch.full_like(left, torch.inf),
            stalled=torch.zeros_like(lifted.stalled),
        )
