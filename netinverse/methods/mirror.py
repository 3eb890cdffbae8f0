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
"""A step that helped is followed by one so much longer, where the network is not affine; one that did not, by half of it."""
SLACK = 1e-3
"""The share by which f may rise in a step that counts as helping: mirrors are inexact, and ReLU networks have kinks."""
SHORTEST = 2.0**-30
"""A step so much shorter than 1/||z'(x_0)||^2 moves nothing."""


class Mirror(Protocol):
    """The gradient of J^*, J strongly convex with constant 1: p -> argmax over C of <p, x> - J(x)."""

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
    """p_{k+1} = p_k - t grad f(x_k), x_{k+1} = mirror(p_{k+1}), f the fidelity G(z(.)); alpha_k = 1 / (sum of the steps).

    t = 1/||z'||^2, with which f falls and the Bregman distance of J to every minimiser too, where z is affine: grad G is
    1-Lipschitz. Elsewhere t is halved until f does not rise, and grows again. The objective is f; there is no optimality.
    """

    mirror: Mirror

    def init(self, problem: InverseProblem, x: Tensor) -> MirrorState:
        shape = tuple(x.shape[1:])
        p = torch.zeros_like(x)
        begun, p, warm = self.mirror(problem, x, p, torch.zeros_like(problem.regulariser.transform(shape)(x)))
        value, derivative = problem.variable.linearise(begun)
        objective = problem.term(value)
        step = 1 / norm_bound(derivative, begun).square().clamp(min=torch.finfo(x.dtype).tiny)
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
        p = state.p - per_sample(state.step, state.p) * state.gradient
        x, p, warm = self.mirror(problem, state.centre, p, state.warm)
        value, derivative = problem.variable.linearise(x)
        objective = problem.term(value)
        helps = torch.full_like(state.stalled, problem.affine) | (objective <= (1 + SLACK) * state.objective)
        moved = MirrorState(
            x=x,
            objective=objective,
            residual=problem.residual(x),
            optimality=state.optimality,
            stalled=(state.gradient == 0).flatten(1).all(1),
            alpha=1 / (1 / state.alpha + state.step),
            subgradient=self.mirror.subgradient(problem, state.centre, p, x),
            p=p,
            gradient=derivative.adjoint(problem.term.gradient(value)),
            centre=state.centre,
            warm=warm,
            step=state.step if problem.affine else GROWTH * state.step,
            shortest=state.shortest,
        )
        waiting = MirrorState(
            **{**vars(state), "step": state.step / 2, "stalled": state.step < state.shortest, "alpha": state.alpha * (1 - 1e-9)}
        )
        return choose(helps, moved, waiting)
