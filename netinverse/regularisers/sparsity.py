"""The l1 norm of the input."""

from __future__ import annotations

from dataclasses import dataclass

from netinverse.protocols import ProximalFunction
from netinverse.prox.norms import L1
from netinverse.regularisers.entrywise import Entrywise


@dataclass(frozen=True)
class Sparsity(Entrywise):
    """R(x) = sum |x_i|, for inputs of any shape."""

    name = "sparsity (l1)"

    @property
    def function(self) -> ProximalFunction:
        return L1()
