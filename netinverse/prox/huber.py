"""The Huber function, a square near zero and the modulus beyond."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.checks import require_positive
from netinverse.prox.scalar import Separable, beyond


@dataclass(frozen=True)
class Huber(Separable):
    """sum h(x_i), h(x) = weight x^2/(2 width) where |x| <= width, weight (|x| - width/2) beyond.

    Proximal map: x/(1 + step weight/width) near 0, soft shrinkage beyond. Conjugate: width p^2/(2 weight) where |p| <= weight.
    """

    width: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_positive("Huber", "width", self.width, "the curvature is weight/width; for width 0 there is L1()")
        require_positive("Huber", "weight", self.weight, "the conjugate divides by it; for no penalty there is Zero()")

    def entries(self, x: Tensor) -> Tensor:
        size = x.abs()
        return self.weight * torch.where(size <= self.width, 0.5 * x.square() / self.width, size - 0.5 * self.width)

    def activation(self, z: Tensor) -> Tensor:
        return self.prox_entries(z, z.new_ones(()))

    def slope(self, z: Tensor) -> Tensor:
        near = z.abs() <= self.width + self.weight
        return torch.where(near, torch.full_like(z, self.width / (self.width + self.weight)), torch.ones_like(z))

    def antiderivative(self, z: Tensor) -> Tensor:
        s = self.activation(z)
        return z * s - 0.5 * s.square() - self.entries(s)

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        # B = 1/2(u - s)^2 + D_h(u, s): the distance of h vanishes where both lie on one linear piece.
        s, q = self.activation(z), z.clamp(-self.width - self.weight, self.width + self.weight)
        curvature = self.weight / self.width
        clipped = u.clamp(-self.width, self.width)
        r = ((clipped - q) + curvature * clipped) / (1 + curvature)
        near = z.abs() <= self.width + self.weight
        inner_s = torch.where(near, clipped - r, torch.sign(z) * self.width)
        exact = torch.where(near, (u - clipped) + r, (u - z) + self.weight * torch.sign(z))
        distance = 0.5 * (clipped - inner_s).square() + (u - clipped).abs() * (self.width - torch.sign(u) * inner_s)
        return 0.5 * torch.where(near & (u == clipped), r, torch.where(near, u - s, exact)).square() + curvature * distance

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        near = x.abs() <= self.width + step * self.weight
        return torch.where(near, x * (self.width / (self.width + step * self.weight)), x - step * self.weight * torch.sign(x))

    def conjugate_entries(self, p: Tensor) -> Tensor:
        value = 0.5 * (self.width / self.weight) * p.square()
        return value.masked_fill(beyond(p.abs(), self.weight), inf)

    def nearest_subgradient(self, x: Tensor, p: Tensor) -> Tensor:
        return self.weight * (x / self.width).clamp(-1, 1)
