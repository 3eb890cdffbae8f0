"""Linearised Bregman iteration: gradient steps in the dual of a regulariser."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import require_number, require_whole
from netinverse.methods.iterative import IterativeMethod
from netinverse.methods.mirror import MirrorDescent
from netinverse.networks.graph import LiftedNetwork
from netinverse.problems import InverseProblem
from netinverse.tensors import per_sample

ACCURACY = 1e-6
"""Of the mirror: an iterate that is off by more than a step makes cannot tell whether the step helps."""


@dataclass(frozen=True)
class LinearisedBregman(IterativeMethod):
    """p_{k+1} = p_k - t grad f(x_k), x_{k+1} = argmin over C of mu R(x) + 1/2||x - x_0||^2 - <p_{k+1}, x>: one gradient a step.

    f is the fidelity, x_0 the start, and t follows from the network. The larger ``mu``, the nearer the iterates are to those of
    Bregman's iteration for R, and the more of them it takes. The rule picks the iterate, with alpha = mu over the
    sum of the steps: x_k minimises f, its gradients averaged, + alpha (R + 1/(2 mu) ||x - x_0||^2). There is no certificate.

    Yin, Osher, Goldfarb & Darbon, SIAM J. Imaging Sci. 1, 2008. Raises ValueError for mu that is not positive.
    """

    mu: float = 1.0
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        require_number("LinearisedBregman", "mu", self.mu, "It weighs the regulariser against 1/2||x||^2. The default is 1.")
        require_whole("LinearisedBregman", "max_iterations", self.max_iterations, 1, "The default is 1000.")

    def solver(self, network: LiftedNetwork, problem: InverseProblem, tolerance: float) -> MirrorDescent:
        return MirrorDescent(_Regularised(self.mu, min(tolerance, ACCURACY)))


@dataclass(frozen=True)
class _Regularised:
    """J = mu R + 1/2||x - x_0||^2 over C: its mirror is the proximal map of mu R at x_0 + p."""

    weight: float
    tolerance: float

    def __call__(self, problem: InverseProblem, centre: Tensor, p: Tensor, warm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps = torch.full_like(problem.alpha, self.weight)
        found = problem.regulariser.prox(centre + p, steps, problem.constraint, self.tolerance, warm)
        return found.x, p, found.dual

    def subgradient(self, problem: InverseProblem, centre: Tensor, p: Tensor, x: Tensor) -> Tensor:
        """p in dR(x), up to the normal cone of C."""
        return (centre + p - x) / per_sample(self.weight, x)
