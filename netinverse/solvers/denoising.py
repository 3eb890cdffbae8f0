"""Regularisation by denoising: Gauss-Newton steps towards what the denoiser makes of the last point."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from netinverse.problems import InverseProblem
from netinverse.prox import subdifferential_of
from netinverse.regularisers import Regulariser
from netinverse.solvers.gauss_newton import GaussNewton
from netinverse.solvers.relinearised import Relinearised
from netinverse.solvers.stationarity import fidelity_gradient, measured
from netinverse.tensors import per_sample


@runtime_checkable
class ModelledRegulariser(Regulariser, Protocol):
    """A regulariser that is not convex, with a convex model at every point."""

    def model_at(self, x: Tensor) -> Regulariser:
        """A convex function with the same gradient at x."""
        ...


@dataclass(frozen=True)
class Denoising:
    """x_{k+1} from one Gauss-Newton step for fidelity + alpha * the model of R at x_k, for a ``ModelledRegulariser`` R.

    The optimality is the stationarity residual with the model at x_{k+1}: it vanishes where grad fidelity(x) + alpha p(x) = 0, p
    the gradient of the model, whether or not p is the gradient of anything. The fixed-point iteration of Romano, Elad & Milanfar
    (SIAM J. Imaging Sci. 10, 2017) with inexact steps.
    """

    inner: GaussNewton = field(default_factory=GaussNewton)

    def init(self, problem: InverseProblem, x: Tensor, warm: Relinearised | None = None) -> Relinearised:
        return self.inner.init(problem, x, warm)

    def step(self, problem: InverseProblem, state: Relinearised) -> Relinearised:
        model = self._model(problem, state.x)
        moved = self.inner.step(model, replace(state, objective=model.objective(state.x)))
        after = self._model(problem, moved.x)
        gradient, shape = fidelity_gradient(after, moved.x), tuple(moved.x.shape[1:])
        image = after.regulariser.transform(shape)(moved.x)
        slope = subdifferential_of("Denoising", after.regulariser.function).nearest_subgradient(image, torch.zeros_like(image))
        judged, _ = measured(after, moved.x, gradient, slope, self.inner.tolerance)
        duals = (moved.duals[0], per_sample(problem.alpha, slope) * slope)
        return replace(moved, objective=problem.objective(moved.x), optimality=judged.residual, duals=duals)

    def _model(self, problem: InverseProblem, x: Tensor) -> InverseProblem:
        assert isinstance(problem.regulariser, ModelledRegulariser)
        return replace(problem, regulariser=problem.regulariser.model_at(x))
