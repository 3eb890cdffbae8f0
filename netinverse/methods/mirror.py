"""Gradient steps on the fidelity in the dual space of a mirror: Landweber's iteration and its Bregman forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netinverse.operators.linear import norm_bound
from netinverse.problems import InverseProblem
from netinverse.tensors import choose, per_sample

GROWTH = 1.1
"""After each step the next is tried so much longer, where the network is not affine."""
SLACK = 1e-3
"""The share by which f may rise in a step: mirrors are inexact, and ReLU networks have kinks."""
SHORTEST = 2.0**-30
"""A step so much shorter than 1/||z'(x_0)||^2, or than the longest so far, moves nothing."""


class Mirror(Protocol):
    """The gradient of J^*, J strongly convex with constant 1: p -> argmax over C of <p, x> - J(x).

    ``weight``: of the regulariser in J.
    """

    @property
    def weight(self) -> float: ...

    def __call__(self, problem: InverseProblem, centre: Tensor, p: Tensor, warm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, the p in dJ(x) to go on from, and what warm-starts the next call."""
        ...

    def subgradient(self, problem: InverseProblem, centre: Tensor, p: Tensor, x: Tensor) -> Tensor:
        """The subgradient at x of what the mirror regularises by."""
        ...


@dataclass(frozen=True)
class MirrorState:
    """x = mirror(p), p = -sum of steps * gradients; ``step``: the next step size; ``shortest``: where it would be too short."""

    x: Tensor
    objective: Tensor
    residual: Tensor
    optimality: Tensor
    stalled: Tensor
    alpha: Tensor
    subgradient: Tensor
    p: Tensor
    gradient: Tensor
    centre: Tensor
    warm: Tensor
    step: Tensor
    shortest: Tensor


@dataclass(frozen=True)
class MirrorDescent:
    """p_{k+1} = p_k - t grad f(x_k), x_{k+1} = mirror(p_{k+1}), f the fidelity G(z(.)); alpha_k = weight / (sum of the steps).

    t = 1/(L ||z'||^2), L the curvature of G (1 but for Kullback-Leibler), with which f falls and the Bregman distance of J to
    every minimiser too, where z is affine. Elsewhere t is halved until f does not rise, and grows again. The objective is f;
    there is no optimality.
    """

    mirror: Mirror

    def init(self, problem: InverseProblem, x: Tensor) -> MirrorState:
        shape = tuple(x.shape[1:])
        p = torch.zeros_like(x)
        begun, p, warm = self.mirror(problem, x, p, torch.zeros_like(problem.regulariser.transform(shape)(x)))
        value, derivative = problem.variable.linearise(begun)
        objective = problem.term(value)
        steepness = problem.term.curvature * norm_bound(derivative, begun).square()
        step = 1 / steepness.clamp(min=torch.finfo(x.dtype).tiny)
        return MirrorState(
            x=begun,
            objective=objective,
            residual=problem.residual(begun),
            optimality=torch.full_like(objective, torch.inf),
            stalled=torch.zeros_like(objective, dtype=torch.bool),
            alpha=torch.full_like(objective, torch.inf),
            subgradient=self.mirror.subgradient(problem, x, p, begun),
            p=p,
            gradient=derivative.adjoint(problem.term.gradient(value)),
            centre=x,
            warm=warm,
            step=step,
            shortest=SHORTEST * step,
        )

    def step(self, problem: InverseProblem, state: MirrorState) -> MirrorState:
        x, p, warm, step, rises = self._descend(problem, state)
        value, derivative = problem.variable.linearise(x)
        return MirrorState(
            x=x,
            objective=problem.term(value),
            residual=problem.residual(x),
            optimality=state.optimality,
            stalled=rises | (state.gradient == 0).flatten(1).all(1),
            alpha=1 / (1 / state.alpha + step / self.mirror.weight),
            subgradient=self.mirror.subgradient(problem, state.centre, p, x),
            p=p,
            gradient=derivative.adjoint(problem.term.gradient(value)),
            centre=state.centre,
            warm=warm,
            step=step if problem.affine else GROWTH * step,
            shortest=torch.maximum(state.shortest, SHORTEST * step),
        )

    def _descend(self, problem: InverseProblem, state: MirrorState) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """x, p and what warms the mirror after the longest step that does not raise f; the step; where even the shortest does."""
        step = state.step
        found = self._moved(problem, state, step)
        if problem.affine:
            return *found, step, torch.zeros_like(state.stalled)
        while bool(((rises := self._rises(problem, state, found[0])) & (step > state.shortest)).any()):
            step = torch.where(rises, step / 2, step)
            found = choose(rises, self._moved(problem, state, step), found)
        return *found, step, rises

    def _moved(self, problem: InverseProblem, state: MirrorState, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.mirror(problem, state.centre, state.p - per_sample(step, state.p) * state.gradient, state.warm)

    def _rises(self, problem: InverseProblem, state: MirrorState, x: Tensor) -> Tensor:
        with torch.no_grad():
            return problem.term(problem.variable(x)) > (1 + SLACK) * state.objective
