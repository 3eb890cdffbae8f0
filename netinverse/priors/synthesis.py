"""The contract of a regulariser that is a minimum over what makes the input: R(x) = min { S(xi) : T(xi) = x }."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from netinverse.protocols import ProximalFunction
from netinverse.regularisers import Regulariser


@runtime_checkable
class SynthesisRegulariser(Protocol):
    """R(x) = min { S(xi) : T(xi) = x }. ``invert`` minimises over xi, of the network after T, and returns x = T(xi).

    An input with an auxiliary field (T drops it), the latent variable of a generator: both are such xi. ``shape`` is always that
    of one input, without the batch.
    """

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def input_shape(self, start: Tensor | None) -> tuple[int, ...] | None:
        """The shape of an input, where the regulariser or a ``start`` that is an input knows it."""
        ...

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise unless R is defined for inputs of this shape."""
        ...

    def synthesis(self, shape: tuple[int, ...]) -> nn.Module:
        """T, (batch, *unknowns) -> (batch, *shape)."""
        ...

    def unknowns(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one xi."""
        ...

    def penalty(self, shape: tuple[int, ...]) -> Regulariser:
        """S."""
        ...

    def constraint_on_unknowns(self, constraint: ProximalFunction | None, shape: tuple[int, ...]) -> ProximalFunction | None:
        """The set of the xi with T(xi) in that of ``constraint``; raises where nothing projects onto it."""
        ...

    def start(self, given: Tensor | None, batch: int, shape: tuple[int, ...], seed: int) -> Tensor | None:
        """The xi to begin at; ``given`` is the ``start`` of ``invert``. None: where ``invert`` would begin by itself."""
        ...

    def subgradient(self, slope: Tensor, shape: tuple[int, ...]) -> Tensor | None:
        """p in dR(x) from ``slope`` in dS(xi) at a minimiser; None where R has none."""
        ...
