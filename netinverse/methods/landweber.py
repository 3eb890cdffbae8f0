"""Landweber's iteration."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netinverse.checks import require_whole
from netinverse.methods.iterative import IterativeMethod
from netinverse.methods.mirror import MirrorDescent
from netinverse.networks.graph import LiftedNetwork
from netinverse.problems import InverseProblem


@dataclass(frozen=True)
class Landweber(IterativeMethod):
    """x_{k+1} = P_C(x_k - t grad f(x_k)): gradient steps on the fidelity f, regularised by nothing but their number.

    With the Bregman fidelity the last activation is not differentiated. In the space of a regulariser's dual the same steps are
    ``LinearisedBregman``. t follows from the network, and the rule picks the
    iterate; the regulariser has no say. The subgradient of the result is x - x_0, that of 1/2||x - x_0||^2. There is no
    certificate.

    Landweber 1951; Hanke, Neubauer & Scherzer, Numer. Math. 72, 1995.
    """

    max_iterations: int = 1000

    def __post_init__(self) -> None:
        require_whole("Landweber", "max_iterations", self.max_iterations, 1, "The default is 1000.")

    def solver(self, network: LiftedNetwork, problem: InverseProblem, tolerance: float) -> MirrorDescent:
        return MirrorDescent(_Projected())


@dataclass(frozen=True)
class _Projected:
    """J = 1/2||x - x_0||^2 over C: its mirror is the projection of x_0 + p, and x - x_0 the shortest subgradient there."""

    weight: float = 1.0

    def __call__(self, problem: InverseProblem, centre: Tensor, p: Tensor, warm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = problem.feasible(centre + p)
        return x, x - centre, warm

    def subgradient(self, problem: InverseProblem, centre: Tensor, p: Tensor, x: Tensor) -> Tensor:
        return x - centre
