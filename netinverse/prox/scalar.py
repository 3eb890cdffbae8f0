"""Separable potentials: Psi(x) = sum_i psi(x_i), everything entry by entry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf

import torch
from torch import Tensor

from netinverse.checks import require_floating
from netinverse.protocols import Step
from netinverse.prox.roots import solve_monotone
from netinverse.tensors import per_sample, total


def rounding_tolerance(x: Tensor) -> float:
    """64 units in the last place: what a projection may miss its set by, and a gap zero."""
    return 64 * torch.finfo(x.dtype).eps


def beyond(p: Tensor, bound: float | Tensor) -> Tensor:
    """p > bound by more than rounding, entry by entry: 64 eps times the largest of 1, |bound| and the entries of the sample.

    What a projection, or v - step prox(v/step), misses the domain of a conjugate by counts as inside.
    """
    edge = torch.as_tensor(bound, dtype=p.dtype, device=p.device)
    largest = p.abs().flatten(1).amax(1) if p.ndim > 1 and p.numel() else p.abs()
    scale = torch.maximum(per_sample(largest, p), edge.abs()).clamp(min=1)
    return p > edge + rounding_tolerance(p) * scale


def no_ends(x: Tensor) -> tuple[Tensor, Tensor]:
    """-inf and inf, in the dtype and on the device of x."""
    return x.new_tensor(-inf), x.new_tensor(inf)


class Separable(ABC):
    """Psi(x) = sum of psi over the entries of a sample. Shapes: (batch, ...) -> (batch,) or (batch, ...).

    A subclass gives psi, sigma, sigma', the antiderivative of sigma, and the penalty, each entry by entry.
    By default prox_{c Psi}(v) = sigma(t) with c t + (1 - c) sigma(t) = v, and Psi^*(p) = Phi(t) - sigma(t)^2/2 with
    t - sigma(t) = p. Both left sides are increasing in t, for every c > 0, because 0 <= sigma' <= 1; sigma(t) stays inside the
    domain, and exact at its boundary, where psi has an infinite slope.
    """

    lower: float | Tensor = -inf
    upper: float | Tensor = inf

    @abstractmethod
    def entries(self, x: Tensor) -> Tensor:
        """psi(x_i), for x_i in the closure of the domain."""

    @abstractmethod
    def activation(self, z: Tensor) -> Tensor:
        """sigma(z_i) = prox_Psi(z)_i."""

    @abstractmethod
    def slope(self, z: Tensor) -> Tensor:
        """sigma'(z_i)."""

    @abstractmethod
    def antiderivative(self, z: Tensor) -> Tensor:
        """phi(z_i), phi' = sigma."""

    @abstractmethod
    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        """B(u_i, z_i) for u_i in the closure of the domain, in the dtype given."""

    def bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two ends of the domain, in the dtype and on the device of x, rounded to its dtype."""
        lower, upper = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in (self.lower, self.upper))
        return lower, upper

    def flat_ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """No end that sigma reaches; where it does, these are the ``bounds``."""
        return no_ends(x)

    def outside(self, x: Tensor) -> Tensor:
        lower, upper = self.bounds(x)
        return (x < lower) | (x > upper)

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the closure of the domain."""
        if isinstance(self.lower, float) and isinstance(self.upper, float):
            return x.clamp(self.lower, self.upper)
        lower, upper = self.bounds(x)
        return torch.minimum(torch.maximum(x, lower), upper)

    def __call__(self, x: Tensor) -> Tensor:
        x = require_floating(type(self).__name__, "x", x)
        return total(self.entries(self.project(x)).masked_fill(self.outside(x), inf))

    def smooth_conjugate(self, z: Tensor) -> Tensor:
        """Phi(z) = sum_i phi(z_i)."""
        return total(self.antiderivative(z))

    def penalty(self, u: Tensor, z: Tensor) -> Tensor:
        """B(u, z), (batch,), evaluated in float64 and rounded once to the dtype of u."""
        inside = self.project(u)
        wide = self.penalties(inside.double(), z.double()).clamp(min=0)
        return total(wide.masked_fill(self.outside(u), inf)).to(u.dtype)

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        """prox_{step Psi}(x); the activation for step 1."""
        x = require_floating(f"{type(self).__name__}.prox", "x", x)
        if isinstance(step, (int, float)):
            if step == 1:
                return self.activation(x)
            if not step >= 0:
                raise ValueError(f"{type(self).__name__}.prox: step is {step}, but must be zero or more. The default is 1.")
        return self.prox_entries(x, per_sample(step, x))

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        """prox with a step that broadcasts against x; the root is found in float64."""
        wide = step.double()
        return self.activation(self.preimage(wide, 1 - wide, x.double())).to(x.dtype)

    def conjugate(self, p: Tensor) -> Tensor:
        """Psi^*(p) = sup_x <p, x> - Psi(x)."""
        return total(self.conjugate_entries(p))

    def conjugate_entries(self, p: Tensor) -> Tensor:
        t = self.preimage(torch.ones_like(p), -torch.ones_like(p), p)
        return self.antiderivative(t) - 0.5 * self.activation(t).square()

    def preimage(self, a: Tensor, b: Tensor, v: Tensor) -> Tensor:
        """t with a t + b sigma(t) = v, where a > 0 and a + b sigma' >= 0.

        Bracket: from the range of sigma, and, where a + b > 0, from the Lipschitz bounds of the left side.
        """
        low, high = self.bounds(v)
        one, other = (v - b * low) / a, (v - b * high) / a
        lower, upper = torch.minimum(one, other).nan_to_num(nan=-inf), torch.maximum(one, other).nan_to_num(nan=inf)
        rest = v - b * self.activation(torch.zeros_like(v))
        sums = a + b
        steep, flat = rest / torch.maximum(a, sums), rest / torch.minimum(a, sums)
        usable = torch.isfinite(flat)
        lower = torch.where(usable, torch.maximum(lower, torch.minimum(steep, flat)), lower)
        upper = torch.where(usable, torch.minimum(upper, torch.maximum(steep, flat)), upper)
        margin = 4 * torch.finfo(v.dtype).eps
        lower, upper = lower - margin * lower.abs(), upper + margin * upper.abs()

        def residual(t: Tensor) -> tuple[Tensor, Tensor]:
            return a * t + b * self.activation(t) - v, a + b * self.slope(t)

        return solve_monotone(residual, lower, upper, v.expand_as(lower))
