"""Newton-type iterations: one linearisation a step, at weights that fall by themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinverse.checks import require_numbers, require_whole
from netinverse.methods.iterative import IterativeMethod
from netinverse.networks.graph import LiftedNetwork
from netinverse.problems import InverseProblem
from netinverse.regularisers import TiltedRegulariser
from netinverse.solvers import gauss_newton
from netinverse.solvers.relinearised import Relinearised
from netinverse.tensors import per_sample


@dataclass(frozen=True)
class _NewtonMethod(IterativeMethod):
    decay: float = 0.7
    max_iterations: int = 60

    def __post_init__(self) -> None:
        who = type(self).__name__
        require_numbers(who, "The default is 0.7.", decay=self.decay)
        if not 0 < self.decay < 1:
            raise ValueError(
                f"{who}: decay is {self.decay}, but must lie between 0 and 1: each weight is that much of the last. The default "
                f"is 0.7."
            )
        require_whole(who, "max_iterations", self.max_iterations, 1, "The default is 60.")


@dataclass(frozen=True)
class GaussNewton(_NewtonMethod):
    """The iteratively regularised Gauss-Newton method: x_{k+1} minimises G(z_k + z'_k (x - x_k)) + alpha_k R(x) over C.

    alpha_k = alpha_0 decay^k, alpha_0 the weight that a variational search begins at. A step that would raise the objective is
    shortened, and each is found to a hundredth of the decrease that it promises. The rule picks the iterate.

    Bakushinskii, Comput. Math. Math. Phys. 32, 1992; Blaschke, Neubauer & Scherzer, IMA J. Numer. Anal. 17, 1997.
    """

    def solver(self, network: LiftedNetwork, problem: InverseProblem, tolerance: float) -> _Steps:
        return _Regularised(self.decay, tolerance)


@dataclass(frozen=True)
class LevenbergMarquardt(_NewtonMethod):
    """x_{k+1} minimises G(z_k + z'_k (x - x_k)) + alpha_k D_R^{p_k}(x, x_k) over C, p_{k+1} from its optimality condition.

    For Tikhonov's R the last term is alpha_k/2 ||x - x_k||^2. alpha_k = alpha_0 decay^k, alpha_0 the weight that a variational
    search begins at; each step is found to a hundredth of the decrease that it promises. The rule picks the iterate.

    Hanke, Inverse Problems 13, 1997; Bachmayr & Burger, Inverse Problems 25, 2009, for the Bregman distance.
    """

    def solver(self, network: LiftedNetwork, problem: InverseProblem, tolerance: float) -> _Steps:
        return _Damped(self.decay, tolerance)


@dataclass(frozen=True)
class NewtonState:
    """``weight``: alpha_k; ``alpha``: the weight of a variational problem that regularises as much; ``slope``: q, p_k = K^T q."""

    x: Tensor
    objective: Tensor
    residual: Tensor
    optimality: Tensor
    stalled: Tensor
    alpha: Tensor
    weight: Tensor
    subgradient: Tensor
    slope: Tensor
    inner: Relinearised


@dataclass(frozen=True)
class _Steps(ABC):
    """One step of the solver of the variational problem for ``penalised``, and the next weight."""

    decay: float
    tolerance: float

    @abstractmethod
    def penalised(self, problem: InverseProblem, state: NewtonState) -> InverseProblem: ...

    @abstractmethod
    def after(self, state: NewtonState, slope: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and the slope of R, where ``slope`` is that of the penalty."""
        ...

    @property
    def _newton(self) -> gauss_newton.GaussNewton:
        return gauss_newton.GaussNewton(
            forcing=0.01, tolerance=self.tolerance, inner_tolerance=self.tolerance, max_inner_steps=40, polishing_steps=0
        )

    def init(self, problem: InverseProblem, x: Tensor) -> NewtonState:
        inner = self._newton.init(problem, x)
        return NewtonState(
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

    def step(self, problem: InverseProblem, state: NewtonState) -> NewtonState:
        part = self.penalised(problem, state)
        newton = self._newton
        inner = newton.step(part, newton.init(part, state.x, state.inner))
        alpha, slope = self.after(state, inner.duals[1] / per_sample(state.weight, inner.duals[1]))
        return NewtonState(
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


@dataclass(frozen=True)
class _Regularised(_Steps):
    """By R itself."""

    def penalised(self, problem: InverseProblem, state: NewtonState) -> InverseProblem:
        return problem.at(state.weight)

    def after(self, state: NewtonState, slope: Tensor) -> tuple[Tensor, Tensor]:
        return state.weight, slope


@dataclass(frozen=True)
class _Damped(_Steps):
    """By the Bregman distance to the last iterate; in the first step, with p_0 = 0, that is R itself."""

    def penalised(self, problem: InverseProblem, state: NewtonState) -> InverseProblem:
        return replace(problem, alpha=state.weight, regulariser=TiltedRegulariser.at(problem.regulariser, state.x, state.slope))

    def after(self, state: NewtonState, slope: Tensor) -> tuple[Tensor, Tensor]:
        return 1 / (1 / state.alpha + 1 / state.weight), state.slope + slope
