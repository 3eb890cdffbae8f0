"""The formulations of variational regularisation: each a problem with its solvers and what they certify."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from netinverse.diagnostics.certificates import Certificate
from netinverse.fidelities import SquaredTerm
from netinverse.lifting import LiftedEnergy, plus_layers
from netinverse.methods.path import Accuracy, WeightedProblem
from netinverse.networks.graph import LiftedNetwork
from netinverse.problems import InverseProblem, LiftedProblem
from netinverse.solvers.block_descent import BlockDescent, BlockDescentState
from netinverse.solvers.continuation import Continuation, ContinuationState
from netinverse.solvers.convex import Convex, ConvexState, factorised
from netinverse.solvers.denoising import Denoising, ModelledRegulariser
from netinverse.solvers.gauss_newton import GaussNewton
from netinverse.solvers.nonconvex import Nonconvex, NonconvexState
from netinverse.solvers.relinearised import Relinearised
from netinverse.tensors import per_sample


def require_formulation(who: str, formulation: str) -> None:
    """Raise ValueError unless it is one of the three."""
    if formulation not in ("auto", "reduced", "lifted"):
        raise ValueError(
            f"{who}: formulation is {formulation!r}, which is not one of 'auto', 'reduced', 'lifted'. 'auto' picks what is best "
            f"for the network."
        )


@dataclass(frozen=True)
class Formulation:
    """A problem with its solvers; ``read(state, alpha)`` gives p in dg(K x), and what is needed to continue, and
    ``certificate(state, alpha)`` what the state is worth.

    ``factorised``: its steps solve linear systems, for which few digits are too few.
    """

    problem: WeightedProblem
    quick: Accuracy[Any]
    final: Accuracy[Any]
    read: Callable[[Any, Tensor], tuple[Tensor, dict[str, Tensor]]]
    certificate: Callable[[Any, Tensor], Certificate]
    note: str
    factorised: bool = False


def reduced(
    network: LiftedNetwork, problem: InverseProblem, start: Tensor, tolerance: float, max_steps: int | None
) -> Formulation:
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
        quick = Accuracy(Nonconvex(newton=_searching(tolerance), near=0.0, settled=0.03), rough, 40)
    final = final if max_steps is None else replace(final, max_steps=max_steps)

    def read(state: Relinearised | ConvexState | NonconvexState, alpha: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        duals = {"data_dual": state.duals[0], "regulariser_dual": state.duals[1], "primal_weight": state.primal_weight}
        return state.duals[1] / per_sample(alpha, state.duals[1]), duals

    def certified(state: Relinearised | ConvexState | NonconvexState, alpha: Tensor) -> Certificate:
        solver = final.solver
        if isinstance(solver, Nonconvex) and isinstance(state, NonconvexState):
            return certificate(problem, solver.optimality(problem.at(alpha), state))
        found = certificate(problem, state.optimality)
        if not (isinstance(solver, Convex) and isinstance(state, ConvexState)):
            return found
        return replace(found, made_feasible=solver.made_feasible(problem.at(alpha), state))

    return Formulation(problem, quick, final, read, certified, "Formulation: reduced.", dense is not None)


def _searching(tolerance: float) -> GaussNewton:
    """A weight whose solution is left too early looks too heavy, and the next is so light that a bad minimum catches it."""
    rough = max(1e-4, tolerance)
    return GaussNewton(tolerance=rough, inner_tolerance=1e-3, max_inner_steps=10, polishing_steps=0, settled=0.03)


def lifted(
    weights: float | Sequence[float] | None,
    network: LiftedNetwork,
    inverse: InverseProblem,
    start: Tensor,
    tolerance: float,
    max_steps: int | None,
) -> Formulation:
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

    def certified(state: BlockDescentState, alpha: Tensor) -> Certificate:
        return lifted_certificate(state.optimality, problem.modulus)

    return Formulation(problem, quick, final, read, certified, note)


def continued(
    weights: float | Sequence[float] | None,
    network: LiftedNetwork,
    inverse: InverseProblem,
    start: Tensor,
    tolerance: float,
    max_steps: int | None,
) -> Formulation:
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

    def certified(state: ContinuationState, alpha: Tensor) -> Certificate:
        return certificate(limit, state.optimality)

    return Formulation(problem, quick, final, read, certified, note)


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
    """How to solve the reduced problem: by the primal-dual method where it is convex, elsewhere by Nonconvex."""
    if isinstance(problem.regulariser, ModelledRegulariser):
        return Accuracy(Denoising(GaussNewton(tolerance=tolerance)), tolerance, 300)
    if problem.affine:
        return Accuracy(Convex(), tolerance, 600)
    # The residual of a rough solution need not have come to rest either.
    return Accuracy(Nonconvex(newton=GaussNewton(tolerance=tolerance), near=max(Nonconvex.near, tolerance)), tolerance, 60)


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
        "what one proximal-gradient step could still gain, to first order (at a kink of the network with the best combination "
        "of gradients within a hundredth of the input's norm); local",
    )
