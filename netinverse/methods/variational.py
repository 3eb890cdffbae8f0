"""Variational regularisation: minimise fidelity + alpha * regulariser at the weight the rule chooses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netinverse.checkpoints import Checkpoint
from netinverse.checks import require_flag
from netinverse.methods.formulations import Formulation, continued, has_convex_lift, lifted, reduced, require_formulation
from netinverse.methods.method import MethodResult, Try
from netinverse.methods.path import Path
from netinverse.networks.graph import LiftedNetwork
from netinverse.parameter_choice.rule import ParameterRule, RuleProblem, Solved
from netinverse.problems import InverseProblem
from netinverse.solvers.iterate import status_of
from netinverse.solvers.status import Status

NARROW_REACH = 1e-3
"""The relative tolerance to which float32 solves: codes of digits at 1e-4 take it half as many steps again as float64."""


@dataclass(frozen=True)
class Variational:
    """x_alpha in argmin over C of fidelity(x) + alpha R(x).

    formulation: "reduced" minimises over the input. Where everything before the last activation is affine the problem is convex,
    the solver is primal-dual and the certificate a duality gap (global); otherwise its iterations relinearise the network, end in
    Gauss-Newton where they circle, and the certificate is a stationarity residual (local). "lifted" minimises the lifted energy
    over the input and the activations by block descent, which never differentiates an activation. Where that energy is jointly
    convex, which is so for chains of plus layers u + W^T sigma(W u + b) with the squared fidelity and layer weights below
    (L + 1)/L, its certificate is a convex gap (global); otherwise a stationarity residual of the energy. "auto" is lifted where
    that is convex and reduced elsewhere; the message of the result says which.

    layer_weights: lambda of the lifted energy, one number or one for each activation but the last. By default 1 where that is
    convex, and elsewhere three times the mean curvature of what follows the layer.

    continuation: the lifted problem with its weights first; once the rule has found its alpha there, the weights grow tenfold
    from solution to solution, and end infinite: the answer is one of the reduced problem, begun where the lifted one led.

    precision: with torch.float32 the weight is found in float32, and the solution there as far as that carries
    (``NARROW_REACH``). From there the work goes on in float64 to the tolerance, so that residual, objective and certificate are
    those of float64. It pays where the network's products take most of the time: for small networks it does not. Layers
    that are factorised stay in float64 altogether.
    """

    formulation: str = "auto"
    layer_weights: float | Sequence[float] | None = None
    continuation: bool = False
    precision: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        require_formulation("Variational", self.formulation)
        if self.precision not in (torch.float32, torch.float64):
            raise ValueError(
                f"Variational: precision is {self.precision!r}, but must be torch.float32 or torch.float64: with fewer digits "
                f"the search is lost in rounding. The default is torch.float64."
            )
        if self.formulation != "lifted" and (self.layer_weights is not None or self.continuation):
            raise ValueError(
                f"Variational: layer_weights and continuation are of the lifted formulation, but formulation is "
                f"{self.formulation!r}. Write Variational('lifted', ...), or leave them out."
            )
        require_flag("Variational", "continuation", self.continuation, "whether the layer weights grow until the lift is exact")
        given = self.layer_weights if isinstance(self.layer_weights, Sequence) else (self.layer_weights,)
        positive = len(given) > 0 and all(isinstance(w, int | float) and 0 < w < math.inf for w in given)
        if self.layer_weights is not None and not positive:
            raise ValueError(
                f"Variational: layer_weights is {self.layer_weights!r}, but must be one positive number, or one for each "
                f"activation but the last. Leave it out for weights that suit the network."
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
        checkpoint: Checkpoint | None = None,
    ) -> MethodResult:
        build = self._builder(network, problem)
        form = searched = build(network, problem, start, tolerance, max_steps)
        if self.precision is not torch.float64 and not form.factorised:
            narrow = network.astype(self.precision)
            start = start.to(self.precision)
            searched = build(narrow, problem.on(narrow), start, max(tolerance, NARROW_REACH), max_steps)
        adjoint = problem.regulariser.transform(tuple(start.shape[1:])).adjoint

        def solved(state: Any, alpha: Tensor) -> Solved:
            return Solved(state.x, problem.regulariser(state.x), adjoint(form.read(state, alpha)[0]))

        alpha = problem.alpha.to(start.dtype)
        path = Path(searched.problem, searched.quick, searched.final, start, alpha, solved, on_try, checkpoint)
        choice = rule.choose(rule_problem, path)
        path.require_solved(rule, rule_problem.numbers)
        if searched is not form:
            path.go_on(form.problem, form.final, choice.alpha)
        state = path.state
        dual, continuation = form.read(state, choice.alpha)
        return MethodResult(
            x=state.x,
            alpha=choice.alpha,
            objective=state.objective,
            status=tuple(map(_joint_status, choice.verdict, path.codes.tolist())),
            certificate=form.certificate(state, choice.alpha),
            steps=path.steps,
            subgradient=adjoint(dual),
            continuation=continuation,
            tried=tuple(path.tried),
            history=tuple(path.history),
            note=form.note,
        )

    def _builder(self, network: LiftedNetwork, problem: InverseProblem) -> Callable[..., Formulation]:
        if self.formulation == "reduced" or (self.formulation == "auto" and not has_convex_lift(problem, network)):
            return reduced
        return partial(continued if self.continuation else lifted, self.layer_weights)


def _joint_status(verdict: Status, code: int) -> Status:
    """Without a finite objective there is nothing to judge. Else the rule's objection comes first, and a met rule still needs a
    solution that meets its tolerance.
    """
    solved = status_of(code)
    if solved in (Status.DIVERGED, Status.INFINITE_START):
        return solved
    return verdict if verdict is not Status.CONVERGED else solved
