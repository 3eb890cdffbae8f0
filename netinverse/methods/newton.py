"""Newton-type iterations: one linearisation a step, at weights that fall by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.checks import require_whole
from netinverse.methods.iterative import no_certificate, run_until_picked
from netinverse.methods.method import MethodResult, Try
from netinverse.networks.graph import LiftedNetwork
from netinverse.parameter_choice.rule import ParameterRule, RuleProblem
from netinverse.problems import InverseProblem
from netinverse.regularisers import TiltedRegulariser
from netinverse.solvers import gauss_newton
from netinverse.solvers.gauss_newton import GaussNewtonState
from netinverse.tensors import per_sample


def _check(who: str, decay: float, max_iterations: int) -> None:
    if not 0 < decay < 1:
        raise ValueError(
            f"{who}: decay is {decay}, but must lie between 0 and 1: each weight is that much of the last. The default is 0.7."
        )
    require_whole(who, "max_iterations", max_iterations, 1, "The default is 60.")


@dataclass(frozen=True)
class GaussNewton:
    """The iteratively regularised Gauss-Newton method: x_{k+1} minimises G(z_k + z'_k (x - x_k)) + alpha_k R(x) over C.

    alpha_k = alpha_0 decay^k, alpha_0 the weight that a variational search begins at. A step that would raise the objective is
    shortened, and each is found to a hundredth of the decrease that it promises. The rule picks the iterate.

    Bakushinskii, Comput. Math. Math. Phys. 32, 1992; Blaschke, Neubauer & Scherzer, IMA J. Numer. Anal. 17, 1997.
    """

    decay: float = 0.7
    max_iterations: int = 60

    def __post_init__(self) -> None:
        _check("GaussNewton", self.decay, self.max_iterations)

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
            _Solver(self.decay, tolerance, _itself),
            problem,
            start,
            rule,
            rule_problem,
            max_iterations=self.max_iterations if max_steps is None else max_steps,
            certificate=no_certificate,
            on_try=on_try,
        )


@dataclass(frozen=True)
class LevenbergMarquardt:
    """x_{k+1} minimises G(z_k + z'_k (x - x_k)) + alpha_k D_R^{p_k}(x, x_k) over C, p_{k+1} from its optimality condition.

    For Tikhonov's R the last term is alpha_k/2 ||x - x_k||^2. alpha_k = alpha_0 decay^k, alpha_0 the weight that a variational
    search begins at; each step is found to a hundredth of the decrease that it promises. The rule picks the iterate.

    Hanke, Inverse Problems 13, 1997; Bachmayr & Burger, Inverse Problems 25, 2009, for the Bregman distance.
    """

    decay: float = 0.7
    max_iterations: int = 60

    def __post_init__(self) -> None:
        _check("LevenbergMarquardt", self.decay, self.max_iterations)

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
            _Solver(self.decay, tolerance, _distance_to_the_last),
            problem,
            start,
            rule,
            rule_problem,
            max_iterations=self.max_iterations if max_steps is None else max_steps,
            certificate=no_certificate,
            on_try=on_try,
        )


@dataclass(frozen=True)
class _State:
    """``weight``: alpha_k; ``alpha``: the weight of a variational problem that regularises as much."""

    x: Tensor
    objective: Tensor
    residual: Tensor
    optimality: Tensor
    stalled: Tensor
    alpha: Tensor
    weight: Tensor
    subgradient: Tensor
    slope: Tensor
    inner: GaussNewtonState


Regularised = Callable[[InverseProblem, _State], InverseProblem]


def _itself(problem: InverseProblem, state: _State) -> InverseProblem:
    return problem.at(state.weight)


def _distance_to_the_last(problem: InverseProblem, state: _State) -> InverseProblem:
    """In the first step, with p_0 = 0, that is the regulariser itself."""
    return replace(problem, alpha=state.weight, regulariser=TiltedRegulariser.at(problem.regulariser, state.x, state.slope))


@dataclass(frozen=True)
class _Solver:
    decay: float
    tolerance: float
    regularised: Regularised

    @property
    def _newton(self) -> gauss_newton.GaussNewton:
        return gauss_newton.GaussNewton(
            forcing=0.01, tolerance=self.tolerance, inner_tolerance=self.tolerance, max_inner_steps=40, polishing_steps=0
        )

    def init(self, problem: InverseProblem, x: Tensor) -> _State:
        inner = self._newton.init(problem, x)
        return _State(
            x=inner.x,
            objective=inner.objective,
            residual=inner.residual,
            optimality=inner.optimality,
            stalled=torch.zeros_like(inner.stalled),
            alpha=torch.full_like(problem.alpha, torch.inf),
            weight=problem.alpha,
            subgradient=torch.zeros_like(x),
            slope=torch.zeros_like(problem.regulariser.transform(tuple(x.shape[1:]))(x)),
            inner=inner,
        )

    def step(self, problem: InverseProblem, state: _State) -> _State:
        part = self.regularised(problem, state)
        newton = self._newton
        inner = newton.step(part, newton.init(part, state.x, state.inner))
        slope = inner.duals[1] / per_sample(state.weight, inner.duals[1])
        alpha = state.weight
        if isinstance(part.regulariser, TiltedRegulariser):
            slope = slope + state.slope
            alpha = 1 / (1 / state.alpha + 1 / state.weight)
        return _State(
            x=inner.x,
            objective=inner.objective,
            residual=inner.residual,
            optimality=inner.optimality,
            stalled=torch.zeros_like(state.stalled),
            alpha=alpha,
            weight=self.decay * state.weight,
            subgradient=problem.regulariser.transform(tuple(state.x.shape[1:])).adjoint(slope),
            slope=slope,
            inner=inner,
        )
