"""Landweber's iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from netinverse.checks import require_whole
from netinverse.methods.iterative import no_certificate, run_until_picked
from netinverse.methods.method import MethodResult, Try
from netinverse.methods.mirror import MirrorDescent
from netinverse.networks.graph import LiftedNetwork
from netinverse.parameter_choice.rule import ParameterRule, RuleProblem
from netinverse.problems import InverseProblem


@dataclass(frozen=True)
class Landweber:
    """x_{k+1} = P_C(x_k - t grad f(x_k)): gradient steps on the fidelity f, regularised by nothing but their number.

    With the Bregman fidelity the last activation is not differentiated. t follows from the network, and the rule picks the
    iterate; the regulariser has no say. The subgradient of the result is x - x_0, that of 1/2||x - x_0||^2. There is no
    certificate.

    Landweber 1951; Hanke, Neubauer & Scherzer, Numer. Math. 72, 1995.
    """

    max_iterations: int = 1000

    def __post_init__(self) -> None:
        require_whole("Landweber", "max_iterations", self.max_iterations, 1, "The default is 1000.")

    def run(
        self,
        network: LiftedNetwork,
        problem: InverseProblem,
        start: Tensor,
        rule: ParameterRule,
        rule_problem: RuleProblem,
        *,
        tolerance: float,
        max_steps: int | None,
        on_try: Callable[[Try], None] | None = None,
    ) -> MethodResult:
        return run_until_picked(
            MirrorDescent(_Projected()),
            problem,
            start,
            rule,
            rule_problem,
            max_iterations=self.max_iterations if max_steps is None else max_steps,
            certificate=no_certificate,
            on_try=on_try,
        )


@dataclass(frozen=True)
class _Projected:
    """J = 1/2||x - x_0||^2 over C: its mirror is the projection of x_0 + p, and x - x_0 the shortest subgradient there."""

    def __call__(self, problem: InverseProblem, centre: Tensor, p: Tensor, warm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = problem.feasible(centre + p)
        return x, x - centre, warm

    def subgradient(self, problem: InverseProblem, centre: Tensor, p: Tensor, x: Tensor) -> Tensor:
        return x - centre
