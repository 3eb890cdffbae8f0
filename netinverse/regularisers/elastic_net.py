"""The l1 norm and the squared norm together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netinverse.operators.linear import Identity
from netinverse.protocols import LinearMap, ProximalFunction, Step
from netinverse.prox.elastic_net import ElasticNetPotential
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers.regulariser import entry_by_entry


@dataclass(frozen=True)
class ElasticNet:
    """R(x) = l1 sum |x_i| + l2/2 ||x||^2, for inputs of any shape. Strongly convex: minimisers are sparse, and unique.

    Zou & Hastie, J. R. Stat. Soc. B 67, 2005.
    """

    l1: float = 1.0
    l2: float = 1.0
    name = "elastic net"

    def __post_init__(self) -> None:
        ElasticNetPotential(self.l1, self.l2)  # checks both weights

    @property
    def function(self) -> ProximalFunction:
        return ElasticNetPotential(self.l1, self.l2)

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
