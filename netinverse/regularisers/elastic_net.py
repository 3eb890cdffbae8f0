"""The l1 norm and the squared norm together."""

from __future__ import annotations

from dataclasses import dataclass

from netinverse.protocols import ProximalFunction
from netinverse.prox.elastic_net import ElasticNetPotential
from netinverse.regularisers.entrywise import Entrywise


@dataclass(frozen=True)
class ElasticNet(Entrywise):
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
