"""A batch in pieces small enough for the cache of one core: some samples at a time, and of large pictures some rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from netinverse.operators.differences import Gradient
from netinverse.protocols import LinearMap, ProximalFunction
from netinverse.prox.group_huber import GroupHuber
from netinverse.prox.groups import GroupL21
from netinverse.prox.indicators import Box, NonNegative
from netinverse.prox.norms import L1

# Bytes of x in one piece. What an iteration reads and writes of them, about ten times as much, fits the second-level cache.
AT_ONCE = 2**18


class Strip(NamedTuple):
    """Rows ``first`` <= i < ``last`` of K x, and the rows ``new`` <= i < ``needed`` of x that no earlier strip has asked for."""

    first: int
    last: int
    new: int
    needed: int


class Pieces(Protocol):
    """A map K, and parts of its input and image that can be worked on one after the other."""

    single: bool
    """Whether K takes single precision."""

    def zeros(self, z: Tensor) -> Tensor:
        """0 in the range of K."""
        ...

    def samples(self, z: Tensor) -> list[slice]: ...

    def strips(self, z: Tensor) -> list[Strip]:
        """In the order in which they have to be visited."""
        ...

    def input(self, x: Tensor, strip: Strip) -> Tensor:
        """A view of the rows of x that are new."""
        ...

    def image(self, y: Tensor, strip: Strip) -> Tensor:
        """A view of the rows of y = K x."""
        ...

    def forward(self, x: Tensor, strip: Strip) -> Tensor:
        """Those rows of K x."""
        ...

    def back(self, y: Tensor, strip: Strip) -> Tensor:
        """The rows of K^T y where x is new."""
        ...


@dataclass(frozen=True)
class Whole:
    """Everything at once, for any map."""

    map: LinearMap
    single = False

    def zeros(self, z: Tensor) -> Tensor:
        return torch.zeros_like(self.map(z))

    def samples(self, z: Tensor) -> list[slice]:
        return [slice(None)]

    def strips(self, z: Tensor) -> list[Strip]:
        return [Strip(0, 0, 0, 0)]

    def input(self, x: Tensor, strip: Strip) -> Tensor:
        return x

    def image(self, y: Tensor, strip: Strip) -> Tensor:
        return y

    def forward(self, x: Tensor, strip: Strip) -> Tensor:
        return self.map(x)

    def back(self, y: Tensor, strip: Strip) -> Tensor:
        return self.map.adjoint(y)


@dataclass(frozen=True)
class Rows:
    """Differences of pictures, (batch, channels, rows, ...): a row of K x needs that row of x and the next."""

    map: Gradient
    single = True

    def zeros(self, z: Tensor) -> Tensor:
        return z.new_zeros((z.shape[0], z.ndim - 2, *z.shape[1:]))

    def samples(self, z: Tensor) -> list[slice]:
        size = max(1, at_once(z) // max(1, z[:1].numel()))
        return [slice(start, start + size) for start in range(0, len(z), size)]

    def strips(self, z: Tensor) -> list[Strip]:
        height = z.shape[2]
        size = max(1, at_once(z) // max(1, z[:, :, :1].numel()))
        firsts = range(0, height, size)
        return [Strip(a, min(a + size, height), a + 1 if a else 0, min(a + size + 1, height)) for a in firsts]

    def input(self, x: Tensor, strip: Strip) -> Tensor:
        return x[:, :, strip.new : strip.needed]

    def image(self, y: Tensor, strip: Strip) -> Tensor:
        return y[:, :, :, strip.first : strip.last]

    def forward(self, x: Tensor, strip: Strip) -> Tensor:
        return self.map.rows(x, strip.first, strip.last)

    def back(self, y: Tensor, strip: Strip) -> Tensor:
        return self.map.adjoint_rows(y, strip.new, strip.needed)


def at_once(z: Tensor) -> int:
    """Entries. Elsewhere than on a CPU a piece costs more to launch than its place in a cache saves."""
    return AT_ONCE // z.element_size() if z.device.type == "cpu" else max(1, z.numel())


def pieces_of(transform: LinearMap, function: ProximalFunction, constraint: ProximalFunction | None) -> Pieces:
    """By rows, where g and the constraint take every pixel on its own and are the same at all of them."""
    by_pixel = isinstance(function, L1) or (isinstance(function, GroupL21 | GroupHuber) and function.axis == 1)
    if isinstance(transform, Gradient) and by_pixel and uniform(constraint):
        return Rows(transform)
    return Whole(transform)


def uniform(constraint: ProximalFunction | None) -> bool:
    """No constraint, or the same bounds for all entries."""
    if isinstance(constraint, Box):
        return all(isinstance(end, float | int) or end.ndim == 0 for end in (constraint.lower, constraint.upper))
    return constraint is None or isinstance(constraint, NonNegative)
