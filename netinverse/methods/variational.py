"""Variational regularisation: minimise fidelity + alpha * regulariser at the weight the rule chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from netinverse.diagnostics.certificates import Certificate
from netinverse.methods.method import MethodResult, Try
from netinverse.methods.path import Accuracy, Path
from netinverse.networks.graph import LiftedNetwork
from netinverse.parameter_choice.rule import ParameterRule, RuleProblem
from netinverse.problems import InverseProblem
from netinverse.solvers.gauss_newton import GaussNewton
from netinverse.solvers.iterate import CONVERGED, status_of
from netinverse.solvers.status import Status
from netinverse.tensors import per_sample


@dataclass(frozen=True)
class Variational:
    """x_alpha in argmin over C of fidelity(x) + alpha R(x).

    formulation: "reduced" minimises over the input by Gauss-Newton; "auto" is the same. The problem is convex where everything before
    the last activation is affine; then the certificate is a duality gap (global), otherwise a stationarity residual (local).
    """

    formulation: str = "auto"

    def __post_init__(self) -> None:
        if self.formulation not in ("auto", "reduced"):
            raise ValueError(
                f"Variational: formulation is {self.formulation!r}, which is not one of 'auto', 'reduced'. "
                f"'auto' picks what is best for the network."
            )

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
        rough = max(1e-4, tolerance)
        quick = Accuracy(GaussNewton(tolerance=rough, inner_tolerance=1e-3, max_inner_steps=10, polishing_steps=0), rough, 2)
        final = Accuracy(GaussNewton(tolerance=tolerance), tolerance, 30 if max_steps is None else max_steps)
        path = Path(problem, quick, final, final.solver.init(problem, start), on_try)
        choice = rule.choose(rule_problem, path.solve_at)
        problem, state = problem.at(choice.alpha), path.state
        transform = problem.regulariser.transform(tuple(start.shape[1:]))
        subgradient = transform.adjoint(state.duals[1]) / per_sample(choice.alpha, start)
        return MethodResult(
            x=state.x,
            alpha=choice.alpha,
            objective=state.objective,
            status=tuple(map(_joint_status, choice.verdict, path.codes.tolist())),
            certificate=certificate(problem, state.optimality),
            steps=path.steps,
            subgradient=subgradient,
            continuation={"data_dual": state.duals[0], "regulariser_dual": state.duals[1], "primal_weight": state.primal_weight},
            tried=tuple(path.tried),
            history=tuple(path.history),
        )


def certificate(problem: InverseProblem, optimality: Tensor) -> Certificate:
    if problem.affine:
        bounded = (
            "over the whole constraint set" if problem.bounded else "over the inputs within max(1, 2 max|x|) of x in every entry"
        )
        return Certificate("duality gap", optimality, f"the objective is within this of its minimum {bounded}")
    return Certificate(
        "stationarity",
        optimality,
        "one proximal-gradient step of length 1/||F'(x)||^2 can lower the objective by at most this, to first order; local",
    )


def _joint_status(verdict: Status, code: int) -> Status:
    """The rule's objection comes first; a met rule still needs a solution that meets its tolerance."""
    return verdict if verdict is not Status.CONVERGED or code == CONVERGED else status_of(code)
