"""Algebraic and trigonometric sigmoids: arctan z, z/(1 + |z|), z/sqrt(1 + z^2)."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from netinverse.prox.compensated import accurate_sum, sine_cosine, times, two_product
from netinverse.prox.scalar import Separable
from netinverse.prox.special import log_remainder


@dataclass(frozen=True)
class ArctanPotential(Separable):
    """Psi(x) = sum -ln cos x - x^2/2 on |x| < pi/2. Activation: arctan z; Phi(z) = z arctan z - ln(1 + z^2)/2.

    pi/2 rounded to the dtype, which arctan returns for large z, counts as inside.
    """

    lower = -pi / 2
    upper = pi / 2

    def entries(self, x: Tensor) -> Tensor:
        return -torch.log(torch.cos(x).clamp(min=0.25 * torch.finfo(x.dtype).eps)) - 0.5 * x.square()

    def activation(self, z: Tensor) -> Tensor:
        return torch.atan(z)

    def slope(self, z: Tensor) -> Tensor:
        return 1 / (1 + z.square())

    def antiderivative(self, z: Tensor) -> Tensor:
        return z * torch.atan(z) - torch.log(torch.hypot(torch.ones_like(z), z))

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        """-ln(cos(d) - z sin(d)) - z d, with d = u - arctan z the angle between (1, z) and (cos u, sin u)."""
        angle = u.clamp(-pi / 2, pi / 2)
        (sine, sine_low), (cosine, cosine_low) = sine_cosine(angle)
        product, error = two_product(z, cosine)
        d = torch.atan2(accurate_sum(sine, -product, sine_low - error - z * cosine_low), cosine + z * sine)
        versine = 2 * torch.sin(0.5 * d).square()
        square = d.square()
        near = d.abs() < 0.5
        terms = torch.zeros_like(d)
        for k in (17, 15, 13, 11, 9, 7, 5, 3):
            terms = (square / (k * (k - 1))) * (1 - terms)
        sagitta = torch.where(near, d * terms, d - torch.sin(d))
        ratio = torch.log(torch.cos(angle) * torch.hypot(torch.ones_like(z), z))  # relative accuracy, where cos is tiny
        y = z * torch.sin(d) + versine
        close = log_remainder(-y, torch.where(y.abs() < 0.5, torch.log1p(-y.clamp(-0.5, 0.5)), ratio)) + versine - z * sagitta
        return torch.where(y.abs() < 0.5, close, -ratio - z * d)


@dataclass(frozen=True)
class SoftsignPotential(Separable):
    """Psi(x) = sum -|x| - ln(1 - |x|) - x^2/2 on |x| < 1. Activation: z/(1 + |z|); Phi(z) = |z| - ln(1 + |z|)."""

    lower = -1.0
    upper = 1.0

    def entries(self, x: Tensor) -> Tensor:
        return log_remainder(-x.abs(), torch.log1p(-x.abs())) - 0.5 * x.square()

    def activation(self, z: Tensor) -> Tensor:
        return z / (1 + z.abs())

    def slope(self, z: Tensor) -> Tensor:
        return 1 / (1 + z.abs()).square()

    def antiderivative(self, z: Tensor) -> Tensor:
        return log_remainder(z.abs(), torch.log1p(z.abs()))

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        size, along = z.abs(), torch.where(z < 0, -u, u)
        product, error = two_product(along, size)
        r = accurate_sum(size, -along, -product, -error)  # (1 - |u|)(1 + |z|) - 1
        same = log_remainder(
            r, torch.where(r.abs() < 0.5, torch.log1p(r.clamp(-0.5, 0.5)), torch.log1p(-along) + torch.log1p(size))
        )
        opposite = self.entries(u) + 0.5 * u.square() + self.antiderivative(z) + along.abs() * size
        return torch.where(along >= 0, same, opposite)


@dataclass(frozen=True)
class InverseSquareRootPotential(Separable):
    """Psi(x) = sum -sqrt(1 - x^2) - x^2/2 on [-1, 1]. Activation: z/sqrt(1 + z^2); Phi(z) = sqrt(1 + z^2)."""

    lower = -1.0
    upper = 1.0

    def entries(self, x: Tensor) -> Tensor:
        return -torch.sqrt((1 - x) * (1 + x)) - 0.5 * x.square()

    def activation(self, z: Tensor) -> Tensor:
        return z / torch.hypot(torch.ones_like(z), z)

    def slope(self, z: Tensor) -> Tensor:
        return torch.hypot(torch.ones_like(z), z) ** -3

    def antiderivative(self, z: Tensor) -> Tensor:
        return torch.hypot(torch.ones_like(z), z)

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        return arc_penalty(u, z)


def arc_penalty(u: Tensor, z: Tensor) -> Tensor:
    """sqrt(1 + z^2) - sqrt(1 - u^2) - u z = sqrt(1 + z^2)(1 - cos d), d the angle between (cos, sin) = (1, z) and u = sin."""
    size, along = z.abs(), torch.where(z < 0, -u, u)
    long, short = torch.hypot(torch.ones_like(z), z), torch.sqrt((1 - u) * (1 + u))
    square_u, square_z = two_product(along, along), two_product(size, size)
    product, error = times(square_u, square_z)
    numerator = accurate_sum(square_u[0], -square_z[0], product, square_u[1] - square_z[1] + error)
    denominator = along + size * short
    sine = numerator / (torch.where(denominator > 0, denominator, 1.0) * long)
    same = long * sine.square() / (1 + (short + along * size) / long)
    opposite = square_u[0] / (1 + short) + square_z[0] / (1 + long) + along.abs() * size
    return torch.where(along >= 0, same, opposite)
