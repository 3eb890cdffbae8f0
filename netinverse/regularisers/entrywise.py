"""Regularisers of the entries themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from netinverse.operators.linear import Identity
from netinverse.protocols import ProximalFunction, Step
from netinverse.prox.indicators import Box, NonNegative
from netinverse.prox.total_variation import ProxResult
from netinverse.regularisers.regulariser import by_duality, exact_result


class Entrywise(ABC):
    """R(x) = g(x) = sum_i g_i(x_i), for inputs of any shape: K is the identity, and g separable."""

    name: str

    @property
    @abstractmethod
    def function(self) -> ProximalFunction: ...

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Every shape will do."""
        return

    def transform(self, shape: tuple[int, ...]) -> Identity:
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
        """Exact over an interval for each entry; by duality over any other constraint.

        In one variable the minimiser over an interval is the free minimiser moved to the nearest point of the interval.
        """
        if not (constraint is None or isinstance(constraint, Box | NonNegative)):
            return by_duality(self, x, step, constraint, tolerance, warm)
        v = self.function.prox(x, step)
        v = v if constraint is None else constraint.prox(v)
        return exact_result(self, v, x, v, step)
