"""Variational regularisation: minimise fidelity + alpha * regulariser at the weight the rule chooses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netinverse.checkpoints import Checkpoint
from netinverse.diagnostics.certificates import Certificate
from netinverse.fidelities import SquaredTerm
from netinverse.lifting import LiftedEnergy, plus_layers
from netinverse.methods.method import MethodResult, Try
from netinverse.methods.path import Accuracy, Path, WeightedProblem
from netinverse.networks.graph import LiftedNetwork
from netinverse.parameter_choice.rule import ParameterRule, RuleProblem, Solved
from netinverse.problems import InverseProblem, LiftedProblem
from netinverse.solvers.block_descent import BlockDescent, BlockDescentState
from netinverse.solvers.continuation import Continuation, ContinuationState
from netinverse.solvers.convex import Convex, ConvexState, factorised
from netinverse.solvers.denoising import Denoising, ModelledRegulariser
from netinverse.solvers.gauss_newton import GaussNewton, GaussNewtonState
from netinverse.solvers.iterate import status_of
from netinverse.solvers.status import Status
from netinverse.tensors import per_sample

NARROW_REACH = 1e-3
"""The relative tolerance to which float32 solves: codes of digits at 1e-4 take it half as many steps again as float64."""


@dataclass(frozen=True)
class Variational:
    """x_alpha in argmin over C of fidelity(x) + alpha R(x).

    formulation: "reduced" minimises over the input. Where everything before the last activation is affine the problem is convex,
    the solver is primal-dual and the certificate a duality gap (global); otherwise the solver is Gauss-Newton and the certificate
    a stationarity residual (local). "lifted" minimises the lifted energy over the input and the activations by block descent,
    which never differentiates an activation. Where that energy is jointly convex, which is so for chains of plus layers
    u + W^T sigma(W u + b) with the squared fidelity and layer weights below (L + 1)/L, its certificate is a convex gap (global);
    otherwise a stationarity residual of the energy. "auto" is lifted where that is convex and reduced elsewhere; the message of
    the result says which.

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
        given = self.layer_weights if isinstance(self.layer_weights, Sequence) else (self.layer_weights,)
        if self.layer_weights is not None and not all(isinstance(w, int | float) and 0 < w < math.inf for w in given):
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
        if searched is not form:
            path.go_on(form.problem, form.final, choice.alpha)
        state = path.state
        dual, continuation = form.read(state, choice.alpha)
        return MethodResult(
            x=state.x,
            alpha=choice.alpha,
            objective=state.objective,
            status=tuple(map(_joint_status, choice.verdict, path.codes.tolist())),
            certificate=form.certificate(state.optimality),
            steps=path.steps,
            subgradient=adjoint(dual),
            continuation=continuation,
            tried=tuple(path.tried),
            history=tuple(path.history),
            note=form.note,
        )

    def _builder(self, network: LiftedNetwork, problem: InverseProblem) -> Callable[..., _Formulation]:
        if self.formulation == "reduced" or (self.formulation == "auto" and not has_convex_lift(problem, network)):
            return _reduced
        return partial(_continued if self.continuation else _lifted, self.layer_weights)


def require_formulation(who: str, formulation: str) -> None:
    """Raise ValueError unless it is one of the three."""
    if formulation not in ("auto", "reduced", "lifted"):
        raise ValueError(
            f"{who}: formulation is {formulation!r}, which is not one of 'auto', 'reduced', 'lifted'. 'auto' picks what is best "
            f"for the network."
        )


@dataclass(frozen=True)
class _Formulation:
    """A problem with its solvers; ``read(state, alpha)`` gives p in dg(K x), and what is needed to continue.

    ``factorised``: its steps solve linear systems, for which few digits are too few.
    """

    problem: WeightedProblem
    quick: Accuracy[Any]
    final: Accuracy[Any]
    read: Callable[[Any, Tensor], tuple[Tensor, dict[str, Tensor]]]
    certificate: Callable[[Tensor], Certificate]
    note: str
    factorised: bool = False


def _reduced(
    network: LiftedNetwork, problem: InverseProblem, start: Tensor, tolerance: float, max_steps: int | None
) -> _Formulation:
    rough, final = max(1e-4, tolerance), accurate(problem, tolerance)
    quick: Accuracy[Any]
    dense = None
    if isinstance(problem.regulariser, ModelledRegulariser):
        quick = Accuracy(final.solver, rough, 20)
    elif problem.affine:
        if (dense := factorised(problem, start)) is not None:
            problem, final = dense[0], Accuracy(Convex(dense[1]), tolerance, 60)
        quick = Accuracy(final.solver, rough, 40)
    else:
        quick = Accuracy(_searching(tolerance), rough, 15)
    final = final if max_steps is None else replace(final, max_steps=max_steps)

    def read(state: GaussNewtonState | ConvexState, alpha: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        duals = {"data_dual": state.duals[0], "regulariser_dual": state.duals[1], "primal_weight": state.primal_weight}
        return state.duals[1] / per_sample(alpha, state.duals[1]), duals

    note = "Formulation: reduced."
    return _Formulation(problem, quick, final, read, lambda optimality: certificate(problem, optimality), note, dense is not None)


def _searching(tolerance: float) -> GaussNewton:
    """A weight whose solution is left too early looks too heavy, and the next is so light that a bad minimum catches it."""
    rough = max(1e-4, tolerance)
    return GaussNewton(tolerance=rough, inner_tolerance=1e-3, max_inner_steps=10, polishing_steps=0, settled=0.03)


def _lifted(
    weights: float | Sequence[float] | None,
    network: LiftedNetwork,
    inverse: InverseProblem,
    start: Tensor,
    tolerance: float,
    max_steps: int | None,
) -> _Formulation:
    problem = LiftedProblem.lift(inverse, network, weights)
    rough, final = max(1e-4, tolerance), accurate_lifted(tolerance)
    if problem.modulus > 0:  # a convex gap says when a solution is good enough, and few sweeps are
        final = replace(final, solver=BlockDescent(tolerance=tolerance, sweeps_per_step=4))
        quick = Accuracy(BlockDescent(tolerance=rough, sweeps_per_step=4), rough, 50)
    else:
        # The residual settles long after the energy: a rule that sees it too early walks to weights that are far too small.
        quick = Accuracy(BlockDescent(tolerance=rough), rough / 100, 12)
    final = final if max_steps is None else replace(final, max_steps=max_steps)

    def read(state: BlockDescentState, alpha: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        blocks = {f"activation_{block}": u for block, u in enumerate(state.us)}
        return state.dual, {**blocks, "regulariser_dual": state.dual}

    note = "Formulation: lifted" + (", jointly convex." if problem.modulus > 0 else ".")
    return _Formulation(problem, quick, final, read, lambda optimality: lifted_certificate(optimality, problem.modulus), note)


def _continued(
    weights: float | Sequence[float] | None,
    network: LiftedNetwork,
    inverse: InverseProblem,
    start: Tensor,
    tolerance: float,
    max_steps: int | None,
) -> _Formulation:
    problem = LiftedProblem.lift(inverse, network, weights)
    rough = max(1e-4, tolerance)
    descent, newton = BlockDescent(tolerance=rough), GaussNewton(tolerance=tolerance)
    quick = Accuracy(Continuation(descent, _searching(tolerance), last=0.0), rough / 100, 12)
    final = Accuracy(Continuation(descent, newton), tolerance, 100 if max_steps is None else max_steps)

    def read(state: ContinuationState, alpha: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        dual = state.dual(alpha)
        return dual, {"regulariser_dual": dual}

    note = "Formulation: lifted, with layer weights that grow without end."
    limit = replace(inverse, affine=False)  # Gauss-Newton has no duals, even where the problem is convex
    return _Formulation(problem, quick, final, read, lambda optimality: certificate(limit, optimality), note)


def has_convex_lift(problem: InverseProblem, network: LiftedNetwork) -> bool:
    """True where the lifted energy with its default weights is jointly convex, but the reduced problem is not known to be."""
    if problem.affine or isinstance(problem.regulariser, ModelledRegulariser) or not isinstance(problem.term, SquaredTerm):
        return False
    return bool(plus_layers(LiftedEnergy(network, problem.term)))


def lifted_certificate(optimality: Tensor, modulus: float = 0.0) -> Certificate:
    """``modulus``: of a jointly convex energy, whose solver measures the convex gap."""
    if modulus > 0:
        meaning = (
            f"the lifted energy is jointly convex and within this of its global minimum, and x within the root of "
            f"{2 / modulus:.3g} times this of the minimiser"
        )
        return Certificate("convex gap", optimality, meaning)
    meaning = "one sweep of block steps lowers the lifted energy by at most this; local"
    return Certificate("stationarity", optimality, meaning)


def accurate_lifted(tolerance: float) -> Accuracy[BlockDescentState]:
    """How to solve the lifted problem."""
    return Accuracy(BlockDescent(tolerance=tolerance), tolerance, 200)


def accurate(problem: InverseProblem, tolerance: float) -> Accuracy[Any]:
    """How to solve the reduced problem: by the primal-dual method where it is convex, elsewhere by Gauss-Newton."""
    if isinstance(problem.regulariser, ModelledRegulariser):
        return Accuracy(Denoising(GaussNewton(tolerance=tolerance)), tolerance, 300)
    return Accuracy(Convex(), tolerance, 600) if problem.affine else Accuracy(GaussNewton(tolerance=tolerance), tolerance, 30)


def certificate(problem: InverseProblem, optimality: Tensor) -> Certificate:
    if isinstance(problem.regulariser, ModelledRegulariser):
        meaning = "what is left of grad fidelity + alpha (x - D(x)) = 0, as what a proximal-gradient step would gain; no minimum"
        return Certificate("none", optimality, meaning)
    if problem.affine:
        bounded = (
            "over the whole constraint set"
            if problem.bounded
            else "over the inputs within twice the larger of max|x| and the data's scale of x in every entry"
        )
        return Certificate("duality gap", optimality, f"the objective is within this of its minimum {bounded}")
    return Certificate(
        "stationarity",
        optimality,
        "what one proximal-gradient step of length 1/||F'(x)||^2 could still gain, to first order (at a kink of the network with "
        "the mean gradient around it); local",
    )


def _joint_status(verdict: Status, code: int) -> Status:
    """Without a finite objective there is nothing to judge. Else the rule's objection comes first, and a met rule still needs a
    solution that meets its tolerance.
    """
    solved = status_of(code)
    if solved in (Status.DIVERGED, Status.INFINITE_START):
        return solved
    return verdict if verdict is not Status.CONVERGED else solved
