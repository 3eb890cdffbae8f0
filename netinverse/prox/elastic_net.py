"""The l1 norm and the squared norm together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netinverse.checks import require_positive
from netinverse.prox.scalar import Separable


@dataclass(frozen=True)
class ElasticNetPotential(Separable):
    """sum l1 |x_i| + l2/2 x_i^2. Proximal map: soft(x, step l1)/(1 + step l2); conjugate: max(|p| - l1, 0)^2/(2 l2)."""

    l1: float = 1.0
    l2: float = 1.0

    def __post_init__(self) -> None:
        require_positive("ElasticNet", "l1", self.l1, "it is the shrinkage; for the squared norm alone there is SquaredNorm()")
        require_positive("ElasticNet", "l2", self.l2, "its conjugate divides by it; for the l1 norm alone there is L1()")

    def entries(self, x: Tensor) -> Tensor:
        return self.l1 * x.abs() + 0.5 * self.l2 * x.square()

    def activation(self, z: Tensor) -> Tensor:
        return self.prox_entries(z, z.new_ones(()))

    def slope(self, z: Tensor) -> Tensor:
        return (z.abs() > self.l1).to(z.dtype) / (1 + self.l2)

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * torch.relu(z.abs() - self.l1).square() / (1 + self.l2)

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        # B = (1 + l2)/2 (u - s)^2 + |u| (l1 - sign(u) q), q = clip(z, -l1, l1): both are nonnegative.
        q = z.clamp(-self.l1, self.l1)
        return 0.5 * (1 + self.l2) * (u - self.activation(z)).square() + u.abs() * (self.l1 - torch.sign(u) * q)

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        return torch.sign(x) * torch.relu(x.abs() - step * self.l1) / (1 + step * self.l2)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return 0.5 * torch.relu(p.abs() - self.l1).square() / self.l2

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return torch.where(x == 0, p.clamp(-self.l1, self.l1), self.l1 * x.sign() + self.l2 * x)
