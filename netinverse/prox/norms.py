"""Zero, half the squared norm, and the l1 norm, with and without negative entries."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn import functional

from netinverse.checks import require_positive
from netinverse.protocols import Step
from netinverse.prox.compensated import accurate_sum, two_product
from netinverse.prox.scalar import Separable, beyond
from netinverse.tensors import per_sample


@dataclass(frozen=True)
class Zero(Separable):
    """0. Proximal map: the identity; Phi(z) = 1/2||z||^2; conjugate: 0 at p = 0, inf elsewhere."""

    def entries(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def activation(self, z: Tensor) -> Tensor:
        return z.clone()

    def slope(self, z: Tensor) -> Tensor:
        return torch.ones_like(z)

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * z.square()

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        return 0.5 * (u - z).square()

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return x.clone()

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p).masked_fill(beyond(p.abs(), 0.0), inf)

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return torch.zeros_like(p)


@dataclass(frozen=True)
class SquaredNorm(Separable):
    """weight/2 ||x||^2. Proximal map: x/(1 + step weight); conjugate: ||p||^2/(2 weight)."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        require_positive("SquaredNorm", "weight", self.weight, "its conjugate divides by it; for no penalty there is Zero()")

    def entries(self, x: Tensor) -> Tensor:
        return 0.5 * self.weight * x.square()

    def activation(self, z: Tensor) -> Tensor:
        return z / (1 + self.weight)

    def slope(self, z: Tensor) -> Tensor:
        return torch.full_like(z, 1 / (1 + self.weight))

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * z.square() / (1 + self.weight)

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        product, error = two_product(u, torch.full_like(u, self.weight))
        return 0.5 * accurate_sum(u, -z, product, error).square() / (1 + self.weight)

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return x / (1 + step * self.weight)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return 0.5 * p.square() / self.weight

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return self.weight * x


@dataclass(frozen=True)
class L1(Separable):
    """weight sum |x_i|. Proximal map: soft shrinkage; Phi(z) = max(|z| - weight, 0)^2/2; conjugate: 0 where |p| <= weight."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        require_positive("L1", "weight", self.weight, "it is the shrinkage; for no penalty there is Zero()")

    @property
    def plateau(self) -> tuple[float, float]:
        """Soft-thresholding maps [-weight, weight] to 0."""
        return 0.0, self.weight

    def entries(self, x: Tensor) -> Tensor:
        return self.weight * x.abs()

    def activation(self, z: Tensor) -> Tensor:
        return functional.softshrink(z, self.weight)

    def slope(self, z: Tensor) -> Tensor:
        return (z.abs() > self.weight).to(z.dtype)

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * torch.relu(z.abs() - self.weight).square()

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        s = self.activation(z)
        # z - s is the subgradient weight * sign(s), or z itself at s = 0: weight|u| - u (z - s) has two factors of one sign.
        dual = z.clamp(-self.weight, self.weight)
        gap = u.abs() * (self.weight - torch.sign(u) * dual)
        same = u * s > 0
        exact = 0.5 * accurate_sum(u, -z, self.weight * torch.sign(u)).square()
        return torch.where(same, exact, 0.5 * (u - s).square() + gap)

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return torch.sign(x) * torch.relu(x.abs() - step * self.weight)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p).masked_fill(beyond(p.abs(), self.weight), inf)

    def conjugate_prox(self, p: Tensor, step: Step = 1.0) -> Tensor:
        """The projection onto the box |p| <= weight, whatever the step."""
        return p.clamp(-self.weight, self.weight)

    def onto_ball(self, p: Tensor, scale: Step) -> Tensor:
        """The projection onto |p| <= scale * weight, the domain of the conjugate of scale times this function."""
        radius = self.weight * per_sample(scale, p)
        return torch.clamp(p, -radius, radius)

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return torch.where(x == 0, p.clamp(-self.weight, self.weight), self.weight * x.sign())


@dataclass(frozen=True)
class NonNegativeL1(Separable):
    """weight sum x_i where x >= 0, inf outside. Proximal map: max(x - weight, 0); conjugate: 0 where p <= weight."""

    weight: float = 1.0
    lower = 0.0

    def __post_init__(self) -> None:
        require_positive("NonNegativeL1", "weight", self.weight, "it is the threshold; for threshold 0 there is NonNegative()")

    def flat_ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.bounds(x)

    def entries(self, x: Tensor) -> Tensor:
        return self.weight * x

    def activation(self, z: Tensor) -> Tensor:
        return torch.relu(z - self.weight)

    def slope(self, z: Tensor) -> Tensor:
        return (z > self.weight).to(z.dtype)

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * torch.relu(z - self.weight).square()

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        weight = torch.full_like(z, self.weight)
        return torch.where(z > weight, 0.5 * accurate_sum(u, -z, weight).square(), u * (0.5 * u + (weight - z)))

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return torch.relu(x - step * self.weight)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p).masked_fill(beyond(p, self.weight), inf)
