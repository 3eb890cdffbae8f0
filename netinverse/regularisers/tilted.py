"""A regulariser less its linearisation at a point: its Bregman distance to that point, as a regulariser."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox import Tilted
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers.regulariser import Regulariser
from netinverse.tensors import inner, per_sample


@dataclass(frozen=True, eq=False)
class TiltedRegulariser:
    """x -> R(x) - <q, K x> + offset for R = g(K .); q, the ``slope``, in the range of K, (batch, ...), and offset (batch,).

    ``at`` gives R(x) - <p, x - y> = R(y) + D_R^p(x, y), p = K^T q in dR(y): the Bregman distance, up to a constant that keeps
    the value on the scale of R, for tolerances that are relative.
    """

    regulariser: Regulariser
    slope: Tensor
    offset: Tensor

    @classmethod
    def at(cls, regulariser: Regulariser, y: Tensor, slope: Tensor) -> Self:
        """R(y) and the Bregman distance to y, with the subgradient K^T slope of R there."""
        return cls(regulariser, slope, inner(slope, regulariser.transform(tuple(y.shape[1:]))(y)))

    @property
    def name(self) -> str:
        return f"Bregman distance of {self.regulariser.name}"

    @property
    def function(self) -> ProximalFunction:
        return Tilted(self.regulariser.function, self.slope, self.offset)

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(self.transform(tuple(x.shape[1:]))(x))

    def check_shape(self, shape: tuple[int, ...]) -> None:
        self.regulariser.check_shape(shape)

    def transform(self, shape: tuple[int, ...]) -> LinearMap:
        return self.regulariser.transform(shape)

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        return self.regulariser.transform_norm(shape)

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        """prox of R at x + step K^T q."""
        moved = x + per_sample(step, x) * self.transform(tuple(x.shape[1:])).adjoint(self.slope)
        found = self.regulariser.prox(moved, step, constraint, tolerance, None if warm is None else warm + self.slope)
        return replace(found, dual=found.dual - self.slope)

    def select(self, index: Tensor) -> Self:
        return replace(self, slope=self.slope[index], offset=self.offset[index])
