"""Bregman iteration: what the regulariser took away is given back, step by step, until the noise shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from netinverse.checks import require_number, require_whole
from netinverse.diagnostics.certificates import Certificate
from netinverse.methods.formulations import accurate, accurate_lifted, certificate, lifted_certificate, require_formulation
from netinverse.methods.iterative import IterativeMethod
from netinverse.methods.path import Accuracy
from netinverse.networks.graph import LiftedNetwork
from netinverse.problems import InverseProblem, LiftedProblem
from netinverse.regularisers import TiltedRegulariser
from netinverse.solvers.iterate import relative_optimality, solve
from netinverse.tensors import per_sample


@dataclass(frozen=True)
class BregmanIteration(IterativeMethod):
    """x_{k+1} in argmin over C of fidelity(x) + alpha D_R^{p_k}(x, x_k), p_{k+1} in dR(x_{k+1}) from its optimality condition.

    alpha: heavy, one number for all; by default the weight that a variational search begins at, sample by sample. The iterates go
    from over-regularised to the data, and the rule picks one: the discrepancy principle the first with a residual of at most
    tau * noise level. Where the problem is convex, D_R^{p_k}(truth, x_k) falls as long as the
    fidelity of x_{k+1} is at least that of the truth: for the squared one until the residual is below the noise, for the Bregman
    one perhaps not quite so long, since noise in inactive units counts more. In the result ``alpha`` is alpha/k.

    formulation: what is minimised in each step, as in ``Variational``. "lifted" is over the input and the activations, with D_R
    of the input; behind several layers the residual, that of the network itself, falls more slowly then.

    Osher, Burger, Goldfarb, Xu & Yin, Multiscale Model. Simul. 4, 2005. Raises ValueError for alpha that is not positive.
    """

    alpha: float | None = None
    max_iterations: int = 50
    formulation: str = "auto"

    def __post_init__(self) -> None:
        if self.alpha is not None:
            require_number("BregmanIteration", "alpha", self.alpha, "It is the weight of every iteration. Leave it out.")
        require_whole("BregmanIteration", "max_iterations", self.max_iterations, 1, "The default is 50.")
        require_formulation("BregmanIteration", self.formulation)

    def weighted(self, problem: InverseProblem) -> InverseProblem:
        return problem if self.alpha is None else problem.at(torch.full_like(problem.alpha, self.alpha))

    def certificate(self, problem: InverseProblem, optimality: Tensor) -> Certificate:
        return lifted_certificate(optimality) if self.formulation == "lifted" else certificate(problem, optimality)

    def solver(self, network: LiftedNetwork, problem: InverseProblem, tolerance: float) -> BregmanSteps:
        if self.formulation == "lifted":
            return BregmanSteps(Lifted(LiftedProblem.lift(problem, network), tolerance))
        return BregmanSteps(Reduced(tolerance))


class Inner(Protocol):
    """How the problem of one iteration is solved."""

    def posed(self, problem: InverseProblem) -> tuple[Any, Accuracy[Any]]:
        """The problem in the form that the solver takes, and the solver."""
        ...

    def slope(self, state: Any, alpha: Tensor) -> Tensor:
        """q in dg(K x) at a solution."""
        ...


@dataclass(frozen=True)
class Reduced:
    """Over the input."""

    tolerance: float

    def posed(self, problem: InverseProblem) -> tuple[Any, Accuracy[Any]]:
        return problem, accurate(problem, self.tolerance)

    def slope(self, state: Any, alpha: Tensor) -> Tensor:
        slope: Tensor = state.duals[1] / per_sample(alpha, state.duals[1])
        return slope


@dataclass(frozen=True)
class Lifted:
    """Over the input and the activations. ``form``: that of any problem behind the same network; its step sizes serve all."""

    form: LiftedProblem
    tolerance: float

    def posed(self, problem: InverseProblem) -> tuple[Any, Accuracy[Any]]:
        energy = replace(self.form.energy, fidelity=problem.term)
        return replace(self.form, inverse=problem, energy=energy), accurate_lifted(self.tolerance)

    def slope(self, state: Any, alpha: Tensor) -> Tensor:
        slope: Tensor = state.dual
        return slope


@dataclass(frozen=True)
class _State:
    """``slope``: q_k with p_k = K^T q_k; ``inner``: the solution of the last problem, which warm-starts the next."""

    x: Tensor
    objective: Tensor
    residual: Tensor
    optimality: Tensor
    stalled: Tensor
    alpha: Tensor
    subgradient: Tensor
    slope: Tensor
    inner: Any


@dataclass(frozen=True)
class BregmanSteps:
    """One step is one iteration of Bregman's, solved by ``inner``; the first one has p_0 = 0, and the regulariser itself.

    The objective is fidelity(x) + alpha (R(x_k) + D_R^{p_k}(x, x_k)).
    """

    inner: Inner

    def init(self, problem: InverseProblem, x: Tensor) -> _State:
        posed, how = self.inner.posed(problem)
        inner = how.solver.init(posed, x)
        shape = tuple(x.shape[1:])
        return _State(
            x=inner.x,
            objective=inner.objective,
            residual=inner.residual,
            optimality=inner.optimality,
            stalled=torch.zeros_like(inner.stalled),
            alpha=torch.full_like(problem.alpha, torch.inf),
            subgradient=torch.zeros_like(x),
            slope=torch.zeros_like(problem.regulariser.transform(shape)(x)),
            inner=inner,
        )

    def step(self, problem: InverseProblem, state: _State) -> _State:
        regulariser, shape = problem.regulariser, tuple(state.x.shape[1:])
        tilted = replace(problem, regulariser=TiltedRegulariser.at(regulariser, state.x, state.slope))
        posed, how = self.inner.posed(tilted)
        begun = how.solver.init(posed, state.x, state.inner)
        stop = relative_optimality(how.tolerance)
        found = solve(how.solver, posed, begun, stop=stop, max_steps=how.max_steps).state
        slope = state.slope + self.inner.slope(found, problem.alpha)
        return _State(
            x=found.x,
            objective=found.objective,
            residual=found.residual,
            optimality=found.optimality,
            stalled=torch.zeros_like(state.stalled),
            alpha=1 / (1 / state.alpha + 1 / problem.alpha),
            subgradient=regulariser.transform(shape).adjoint(slope),
            slope=slope,
            inner=found,
        )
