"""The squared norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import require_floating
from netinverse.operators.linear import Identity
from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.norms import SquaredNorm
from netinverse.prox.total_variation import ProxResult
from netinverse.tensors import inner


@dataclass(frozen=True)
class Tikhonov:
    """R(x) = 1/2||x||^2, for inputs of any shape."""

    name = "Tikhonov"

    @property
    def function(self) -> ProximalFunction:
        return SquaredNorm()

    def __call__(self, x: Tensor) -> Tensor:
        x = require_floating("Tikhonov", "x", x)
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
        zeros = x.new_zeros(x.shape[0])
        return ProxResult(v, v, zeros, torch.zeros_like(zeros, dtype=torch.long))
