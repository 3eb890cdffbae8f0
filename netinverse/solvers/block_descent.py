"""Block descent on the lifted energy: one sweep backward over the activations, then over the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netinverse.lifting import INPUT, LiftedEnergy
from netinverse.tensors import norm


class LiftedProblem(Protocol):
    """min over (x, u) of E(x, u) + alpha R(x), with the proximal map of alpha R (and of a constraint)."""

    @property
    def energy(self) -> LiftedEnergy: ...
    def regulariser_value(self, x: Tensor) -> Tensor: ...
    def regulariser_prox(self, x: Tensor, step: float) -> Tensor: ...


@dataclass(frozen=True)
class BlockDescentState:
    """``us``: the activations as variables. ``optimality``: sum over blocks of ||step||^2 / (2 step size), local."""

    x: Tensor
    us: tuple[Tensor, ...]
    objective: Tensor
    optimality: Tensor
    stalled: Tensor


@dataclass(frozen=True)
class BlockDescent:
    """u_l+ = prox_{t lambda_l (1/2||.||^2 + Psi_l)}(u_l - t grad_l E) for l = L, ..., 1; x+ = prox_{t alpha R}(x - t grad_x E).

    Gauss-Seidel proximal gradient steps with t = 1/L of each block: the objective never rises. Each block problem is convex; the
    whole is not, and the limit is a stationary point. Smooth nodes have no safe step, and the problem must have none.

    Bolte, Sabach, Teboulle, Proximal alternating linearized minimization, Math. Program. 146, 2014.
    """

    def init(self, problem: LiftedProblem, x: Tensor) -> BlockDescentState:
        """Start at x with the activations of the forward pass. Raises ValueError for a network with smooth nodes."""
        network = problem.energy.network
        if not network.is_exactly_lifted:
            names = ", ".join(node.name for node in network.nodes if node.kind == "smooth")
            raise ValueError(
                f"BlockDescent: the network has smooth nodes ({names}), whose block steps have no safe size. Use the reduced "
                f"formulation (Gauss-Newton), or replace these activations by proximal ones."
            )
        with torch.no_grad():
            us = problem.energy.activations(x)
            objective = problem.energy.value(x, us) + problem.regulariser_value(x)
        return BlockDescentState(x, us, objective, objective + torch.inf, torch.zeros_like(objective).bool())

    def step(self, problem: LiftedProblem, state: BlockDescentState) -> BlockDescentState:
        energy, x, us = problem.energy, state.x, list(state.us)
        left = torch.zeros_like(state.objective)
        with torch.no_grad():
            for block in reversed(range(len(us))):
                t = energy.step_size(block)
                new = energy.prox(block, us[block] - t * energy.gradient(block, x, us), t)
                left = left + norm(new - us[block]).square() / (2 * t)
                us[block] = new
            t = energy.step_size(INPUT)
            new = problem.regulariser_prox(x - t * energy.gradient(INPUT, x, us), t)
            left = left + norm(new - x).square() / (2 * t)
            objective = energy.value(new, us) + problem.regulariser_value(new)
        return BlockDescentState(new, tuple(us), objective, left, left == 0)
