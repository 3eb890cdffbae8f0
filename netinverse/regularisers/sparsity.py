"""The l1 norm of the input."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netinverse.operators.linear import Identity
from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.norms import L1
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers.regulariser import entry_by_entry


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
        return entry_by_entry(self, x, step, constraint, tolerance, warm)
