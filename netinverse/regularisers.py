"""Regularisers R(x) = g(K x): a linear transform K and a convex function g with a proximal map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netinverse.operators.differences import Gradient
from netinverse.operators.linear import Identity
from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.indicators import Box, NonNegative
from netinverse.prox.norms import L1, GroupL21, SquaredNorm
from netinverse.prox.total_variation import ProxResult, dual_prox
from netinverse.tensors import inner, per_sample


class Regulariser(Protocol):
    """R(x) = g(K x) on inputs (batch, *shape)."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def function(self) -> ProximalFunction:
        """g, on K's range."""
        ...

    def __call__(self, x: Tensor) -> Tensor: ...

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise unless R is defined for inputs of this shape, given without the batch."""
        ...

    def transform(self, shape: tuple[int, ...]) -> LinearMap:
        """K."""
        ...

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        """An upper bound of ||K||, never zero."""
        ...

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        """argmin over v in C of step R(v) + 1/2||v - x||^2, with a duality gap of at most tolerance times that minimum."""
        ...


@dataclass(frozen=True)
class TotalVariation:
    """R(x) = sum over pixels of ||(K x)_pixel||, K forward differences with Neumann boundary, no grid scaling.

    isotropic: the norm over the spatial axes is the Euclidean one, otherwise the l1 norm. Channels are added up, each on its own.
    Inputs: (channels, length), (channels, height, width) or (channels, depth, height, width).
    Rudin, Osher & Fatemi, Physica D 60, 1992.
    """

    isotropic: bool = True

    @property
    def name(self) -> str:
        return "total variation" if self.isotropic else "anisotropic total variation"

    @property
    def function(self) -> ProximalFunction:
        return GroupL21(axis=1) if self.isotropic else L1()

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(self.transform(tuple(x.shape[1:]))(x))

    def check_shape(self, shape: tuple[int, ...]) -> None:
        if not 2 <= len(shape) <= 4:
            raise ValueError(
                f"TotalVariation: one input has shape {tuple(shape)}, but differences are taken along 1, 2 or 3 spatial axes "
                f"that follow a channel axis. Reshape the input to (channels, length), (channels, height, width) or "
                f"(channels, depth, height, width), or use Tikhonov() or Sparsity(), which take any shape."
            )

    def transform(self, shape: tuple[int, ...]) -> LinearMap:
        self.check_shape(shape)
        return Gradient()

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        self.check_shape(shape)
        return Gradient.norm_bound(tuple(shape))

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        shape = tuple(x.shape[1:])
        return dual_prox(self.function, self.transform(shape), self.transform_norm(shape), x, step, constraint, tolerance, warm)


@dataclass(frozen=True)
class Tikhonov:
    """R(x) = 1/2||x||^2, for inputs of any shape."""

    name = "Tikhonov"

    @property
    def function(self) -> ProximalFunction:
        return SquaredNorm()

    def __call__(self, x: Tensor) -> Tensor:
        return 0.5 * inner(x, x)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Every shape will do."""

    def transform(self, shape: tuple[int, ...]) -> LinearMap:
        return Identity()

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        return 1.0

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        # Completing the square leaves the projection of x/(1 + step), for every convex set.
        v = self.function.prox(x, step)
        v = v if constraint is None else constraint.prox(v)
        return _closed_form(v, v)


@dataclass(frozen=True)
class Sparsity:
    """R(x) = sum |x_i|, for inputs of any shape."""

    name = "sparsity (l1)"

    @property
    def function(self) -> ProximalFunction:
        return L1()

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Every shape will do."""

    def transform(self, shape: tuple[int, ...]) -> LinearMap:
        return Identity()

    def transform_norm(self, shape: tuple[int, ...]) -> float:
        return 1.0

    def prox(
        self,
        x: Tensor,
        step: Step = 1.0,
        constraint: ProximalFunction | None = None,
        tolerance: float = 1e-8,
        warm: Tensor | None = None,
    ) -> ProxResult:
        if not (constraint is None or isinstance(constraint, Box | NonNegative)):
            return dual_prox(self.function, Identity(), 1.0, x, step, constraint, tolerance, warm)
        # In one variable the minimiser over an interval is the free minimiser moved to the nearest point of the interval.
        v = self.function.prox(x, step)
        v = v if constraint is None else constraint.prox(v)
        steps = per_sample(step, x)
        slope = torch.where(steps > 0, (x - v) / torch.where(steps > 0, steps, 1.0), 0.0).clamp(-1, 1)
        return _closed_form(v, torch.where(v == 0, slope, v.sign()))


def _closed_form(x: Tensor, dual: Tensor) -> ProxResult:
    zeros = x.new_zeros(x.shape[0])
    return ProxResult(x, dual, zeros, torch.zeros_like(zeros, dtype=torch.long))
