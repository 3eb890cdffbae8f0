"""Indicators of convex sets: 0 inside, inf outside; the proximal map is the projection, for every step."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.checks import require_floating
from netinverse.protocols import Step
from netinverse.prox.scalar import Separable, beyond, no_ends, rounding_tolerance
from netinverse.tensors import inner, total


@dataclass(frozen=True, eq=False)
class Box(Separable):
    """0 where lower <= x <= upper, inf outside. Proximal map: clip(x, lower, upper), the hard tanh for (-1, 1).

    ``lower``, ``upper``: numbers, or tensors that broadcast against one sample; infinite bounds are allowed.
    Phi(z) = z s - s^2/2 with s the projection of z; conjugate: the support function sum max(lower p, upper p).
    """

    lower: float | Tensor = 0.0
    upper: float | Tensor = 1.0

    def __post_init__(self) -> None:
        lower, upper = self._ends()
        bad = ~((lower <= upper) & (lower < inf) & (upper > -inf))
        if bad.any():
            low, high = (end[bad][0].item() for end in (lower, upper))
            raise ValueError(
                f"Box: lower is {low:g} and upper is {high:g}, but the box must contain a point "
                f"(lower <= upper, lower < inf, upper > -inf), since nothing can be projected onto an empty set. "
                f"Swap or repair the bounds."
            )

    def _ends(self) -> tuple[Tensor, Tensor]:
        try:
            lower, upper = torch.as_tensor(self.lower), torch.as_tensor(self.upper)
            shape = (lower + upper).shape
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"Box: lower is {self.lower!r} and upper is {self.upper!r}, but both must be numbers, or tensors that broadcast "
                f"to the shape of one sample. Write Box(0.0, 1.0)."
            ) from error
        return lower.expand(shape), upper.expand(shape)

    def flat_ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.bounds(x)

    def entries(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def project(self, x: Tensor) -> Tensor:
        if isinstance(self.lower, Tensor) or isinstance(self.upper, Tensor):
            return super().project(x)
        return x.clamp(self.lower, self.upper)  # several times faster than with tensors that broadcast

    def activation(self, z: Tensor) -> Tensor:
        if isinstance(self.lower, Tensor) or isinstance(self.upper, Tensor):
            return self.project(z)
        return z.clamp(self.lower, self.upper)

    def slope(self, z: Tensor) -> Tensor:
        lower, upper = self.bounds(z)
        return ((z > lower) & (z < upper)).to(z.dtype)

    def antiderivative(self, z: Tensor) -> Tensor:
        s = self.project(z)
        return s * (0.5 * s + (z - s))

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        s = self.project(z)
        return 0.5 * (u - s).square() + (s - u) * (z - s)

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return self.project(x)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        lower, upper = self.bounds(p)
        bound = torch.where(p > 0, upper, lower)
        at_rest = (p == 0) | (bound.isinf() & ~beyond(p.abs(), 0.0))  # rounding against an end that is not there
        return torch.where(at_rest, torch.zeros_like(p), bound * p)


@dataclass(frozen=True)
class NonNegative(Separable):
    """0 where x >= 0, inf outside. Proximal map: ReLU; Phi(z) = max(0, z)^2/2; conjugate: 0 where p <= 0, inf outside."""

    lower = 0.0

    def flat_ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.bounds(x)

    def entries(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def activation(self, z: Tensor) -> Tensor:
        return torch.relu(z)

    def slope(self, z: Tensor) -> Tensor:
        return (z > 0).to(z.dtype)

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * torch.relu(z).square()

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        return torch.where(z > 0, 0.5 * (u - z).square(), u * (0.5 * u - z))

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return torch.relu(x)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p).masked_fill(beyond(p, 0.0), inf)


@dataclass(frozen=True)
class Simplex:
    """0 where x >= 0 and sum x = 1, inf outside. Proximal map: projection, by sorting.

    The simplex runs over the last axis (over the whole sample where it has one axis); other axes hold independent simplices.
    Conjugate: sum of max_i p_i. A sum within 64 eps n of 1 counts as inside.
    Held, Wolfe, Crowder, Math. Programming 6, 1974.
    """

    def _outside(self, x: Tensor) -> Tensor:
        tolerance = rounding_tolerance(x) * x.shape[-1]
        return ((x < -tolerance).any(-1)) | ((x.sum(-1) - 1).abs() > tolerance)

    def __call__(self, x: Tensor) -> Tensor:
        x = require_floating("Simplex", "x", x)
        return total(torch.zeros_like(x[..., 0]).masked_fill(self._outside(x), inf))

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        return self.project(require_floating("Simplex.prox", "x", x))

    def project(self, x: Tensor) -> Tensor:
        """max(x - theta, 0) with theta such that the entries sum to 1."""
        shifted = x - x.amax(-1, keepdim=True)
        ordered = shifted.sort(dim=-1, descending=True).values
        count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
        thresholds = (ordered.cumsum(-1) - 1) / count
        last = (ordered > thresholds).sum(-1, keepdim=True) - 1
        return torch.relu(shifted - thresholds.gather(-1, last))

    def flat_ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return no_ends(x)

    def conjugate(self, p: Tensor) -> Tensor:
        return total(p.amax(-1))

    def smooth_conjugate(self, z: Tensor) -> Tensor:
        s = self.project(z)
        return inner(s, 0.5 * s + (z - s))

    def penalty(self, u: Tensor, z: Tensor) -> Tensor:
        """B(u, z) = 1/2||u - s||^2 + <s - u, z - s>, s the projection of z."""
        s = self.project(z)
        gap = (z - s) - (z - s).amax(-1, keepdim=True)
        value = 0.5 * (u - s).square().sum(-1) + ((s - u) * gap).sum(-1)
        return total(value.clamp(min=0).masked_fill(self._outside(u), inf))
