"""Rectifiers: linear where z >= 0, bent where z < 0. Leaky ReLU, ELU (with CELU and SELU), ISRLU."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn import functional

from netinverse.prox.compensated import accurate_sum, exponential, times, two_product
from netinverse.prox.roots import solve_monotone
from netinverse.prox.scalar import Separable, beyond
from netinverse.prox.sigmoids import arc_penalty
from netinverse.prox.special import relative_entropy


class Rectifier(Separable):
    """sigma(z) = positive_slope z where z >= 0, left(z) where z < 0; 0 < positive_slope <= 1.

    Psi(x) = (1/positive_slope - 1) x^2/2 where x >= 0. For u and z on different sides all terms of B are nonnegative.
    """

    positive_slope: float = 1.0

    @abstractmethod
    def left(self, z: Tensor) -> Tensor:
        """sigma(z), z <= 0."""

    @abstractmethod
    def left_slope(self, z: Tensor) -> Tensor:
        """sigma'(z), z <= 0."""

    @abstractmethod
    def left_energy(self, x: Tensor) -> Tensor:
        """x^2/2 + psi(x), x <= 0."""

    @abstractmethod
    def left_antiderivative(self, z: Tensor) -> Tensor:
        """phi(z), z <= 0."""

    @abstractmethod
    def left_penalty(self, u: Tensor, z: Tensor) -> Tensor:
        """B(u, z), u, z <= 0, in float64."""

    def entries(self, x: Tensor) -> Tensor:
        low = x.clamp(max=0)
        return torch.where(x < 0, self.left_energy(low) - 0.5 * low.square(), 0.5 * (1 / self.positive_slope - 1) * x.square())

    def activation(self, z: Tensor) -> Tensor:
        return torch.where(z < 0, self.left(z.clamp(max=0)), self.positive_slope * z)

    def slope(self, z: Tensor) -> Tensor:
        return torch.where(z < 0, self.left_slope(z.clamp(max=0)), self.positive_slope)

    def antiderivative(self, z: Tensor) -> Tensor:
        return torch.where(z < 0, self.left_antiderivative(z.clamp(max=0)), 0.5 * self.positive_slope * z.square())

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        low_u, low_z, k = u.clamp(max=0), z.clamp(max=0), self.positive_slope
        right = linear_penalty(u, z, k)
        energy = torch.where(u < 0, self.left_energy(low_u), 0.5 * u.square() / k)
        mixed = energy + self.antiderivative(z) - u * z
        same = torch.where(z < 0, self.left_penalty(low_u, low_z), right)
        return torch.where((u < 0) == (z < 0), same, mixed)

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        """Right of 0 in closed form; left of 0 sigma(t), t <= 0, between the ends of its bracket."""
        right = x / (1 + step * (1 / self.positive_slope - 1))
        low = x.clamp(max=0)
        lower, upper = torch.minimum(low, low / step), torch.maximum(low, low / step)

        def residual(t: Tensor) -> tuple[Tensor, Tensor]:
            return step * t + (1 - step) * self.left(t) - low, step + (1 - step) * self.left_slope(t)

        return torch.where(x < 0, self.left(solve_monotone(residual, lower, upper, low)), right)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        k = self.positive_slope
        right = 0.5 * k / (1 - k) * p.square() if k < 1 else torch.zeros_like(p).masked_fill(beyond(p, 0.0), inf)
        low = p.clamp(max=0)
        bottom = low + torch.as_tensor(self.lower, dtype=p.dtype, device=p.device)

        def residual(t: Tensor) -> tuple[Tensor, Tensor]:
            return t - self.left(t) - low, 1 - self.left_slope(t)

        t = solve_monotone(residual, bottom, torch.zeros_like(p), low)
        return torch.where(p < 0, self.left_antiderivative(t) - 0.5 * self.left(t).square(), right)


def linear_penalty(u: Tensor, z: Tensor, slope: float | Tensor) -> Tensor:
    """(u - slope z)^2/(2 slope), the product taken exactly."""
    product, error = two_product(z, torch.as_tensor(slope, dtype=z.dtype, device=z.device).expand_as(z))
    return 0.5 * accurate_sum(u, -product, -error).square() / slope


@dataclass(frozen=True)
class LeakyReLUPotential(Rectifier):
    """Psi(x) = sum (1/slope - 1) min(x, 0)^2/2, 0 < slope <= 1. Activation: z where z >= 0, slope z where z < 0."""

    negative_slope: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.negative_slope <= 1:
            raise ValueError(
                f"LeakyReLUPotential: negative_slope is {self.negative_slope}, but must lie in (0, 1], since a proximal map is "
                f"nondecreasing and 1-Lipschitz. For slope 0 use NonNegative(); for a slope above 1 divide by it and put the "
                f"factor into the next affine map."
            )

    def activation(self, z: Tensor) -> Tensor:
        return functional.leaky_relu(z, self.negative_slope)

    def left(self, z: Tensor) -> Tensor:
        return self.negative_slope * z

    def left_slope(self, z: Tensor) -> Tensor:
        return torch.full_like(z, self.negative_slope)

    def left_energy(self, x: Tensor) -> Tensor:
        return 0.5 * x.square() / self.negative_slope

    def left_antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * self.negative_slope * z.square()

    def left_penalty(self, u: Tensor, z: Tensor) -> Tensor:
        return linear_penalty(u, z, self.negative_slope)

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return torch.where(x < 0, x / (1 + step * (1 / self.negative_slope - 1)), x)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        a = self.negative_slope
        left = 0.5 * a / (1 - a) * p.square() if a < 1 else torch.zeros_like(p).masked_fill(beyond(-p, 0.0), inf)
        return torch.where(p > 0, torch.zeros_like(p).masked_fill(beyond(p, 0.0), inf), left)


@dataclass(frozen=True)
class ELUPotential(Rectifier):
    """Activation: positive_slope z where z >= 0, alpha (e^(rate z) - 1) where z < 0; alpha rate <= 1, positive_slope <= 1.

    Psi(x) = (1/positive_slope - 1) x^2/2 where x >= 0; alpha/rate ((1 + y) ln(1 + y) - y) - x^2/2, y = x/alpha, where
    -alpha <= x < 0. ELU with alpha <= 1 has rate 1, CELU rate 1/alpha.
    """

    alpha: float = 1.0
    rate: float = 1.0
    positive_slope: float = 1.0

    def __post_init__(self) -> None:
        rounding = 1e-15
        if not (self.alpha > 0 and 0 < self.alpha * self.rate <= 1 + rounding and 0 < self.positive_slope <= 1):
            raise ValueError(
                f"ELUPotential: alpha is {self.alpha}, rate {self.rate}, positive_slope {self.positive_slope}, but alpha rate "
                f"and positive_slope are the slopes at 0 and must lie in (0, 1], since a proximal map is nondecreasing and "
                f"1-Lipschitz. Divide the activation by its largest slope and put that factor into the next affine map."
            )

    @property
    def lower(self) -> float:  # type: ignore[override]
        return -self.alpha

    def activation(self, z: Tensor) -> Tensor:
        out: Tensor = torch.ops.aten.elu(z, self.alpha / self.positive_slope, self.positive_slope, self.rate)
        return out

    def left(self, z: Tensor) -> Tensor:
        return self.alpha * torch.expm1(self.rate * z)

    def left_slope(self, z: Tensor) -> Tensor:
        return min(self.alpha * self.rate, 1.0) * torch.exp(self.rate * z)

    def left_energy(self, x: Tensor) -> Tensor:
        y = (x / self.alpha).clamp(min=-1)
        return self.alpha / self.rate * relative_entropy(1 + y, torch.ones_like(y), y, torch.zeros_like(y))

    def left_antiderivative(self, z: Tensor) -> Tensor:
        w = self.rate * z
        return self.alpha / self.rate * torch.where(w > -0.125, relative_exponential(w.clamp(min=-0.125)), torch.expm1(w) - w)

    def left_penalty(self, u: Tensor, z: Tensor) -> Tensor:
        """alpha/rate times the relative entropy of 1 + u/alpha and e^(rate z)."""
        exponent, exponent_low = two_product(z, torch.full_like(z, self.rate))
        (growth, _), shift = exponential(exponent, exponent_low)
        scaled = times(shift, (torch.full_like(z, self.alpha), torch.zeros_like(z)))
        excess = accurate_sum(u, -scaled[0], -scaled[1]) / (self.alpha * growth)
        ratio = ((u + self.alpha) / self.alpha).clamp(min=0)
        return self.alpha / self.rate * relative_entropy(ratio, growth, excess, exponent)


def relative_exponential(w: Tensor) -> Tensor:
    """e^w - 1 - w for |w| <= 1/8."""
    out = torch.zeros_like(w)
    for k in range(14, 1, -1):
        out = (1 + out) * w / k
    return w * out


@dataclass(frozen=True)
class ISRLUPotential(Rectifier):
    """Psi(x) = 0 where x >= 0, 1 - sqrt(1 - x^2) - x^2/2 where -1 <= x < 0. Activation: z, z/sqrt(1 + z^2) where z < 0."""

    lower = -1.0

    def left(self, z: Tensor) -> Tensor:
        return z / torch.hypot(torch.ones_like(z), z)

    def left_slope(self, z: Tensor) -> Tensor:
        return torch.hypot(torch.ones_like(z), z) ** -3

    def left_energy(self, x: Tensor) -> Tensor:
        return x.square() / (1 + torch.sqrt((1 - x) * (1 + x).clamp(min=0)))

    def left_antiderivative(self, z: Tensor) -> Tensor:
        return z * (z / (1 + torch.hypot(torch.ones_like(z), z)))

    def left_penalty(self, u: Tensor, z: Tensor) -> Tensor:
        return arc_penalty(u, z)
