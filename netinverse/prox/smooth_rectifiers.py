"""Smooth rectifiers: softplus, its reflection ln(sigmoid z), and (z + sqrt(z^2 + 1))/2."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, pi

import torch
from torch import Tensor
from torch.nn import functional

from netinverse.checks import require_positive
from netinverse.prox.compensated import accurate_sum, exponential, two_product, two_sum
from netinverse.prox.scalar import Separable, beyond
from netinverse.prox.special import GAUSS, bose_remainder, dilogarithm_gap, dilogarithm_series, log_remainder, relative_entropy


@dataclass(frozen=True)
class SoftplusPotential(Separable):
    """Psi(x) = sum (Li2(e^(-beta x)) - pi^2/6)/beta^2 on x >= 0. Activation: ln(1 + e^(beta z))/beta.

    Phi(z) = -Li2(-e^(beta z))/beta^2. The activation has no threshold: it differs from torch's, which returns z where
    beta z > 20, by up to 2e-9/beta.
    """

    beta: float = 1.0
    lower = 0.0

    def __post_init__(self) -> None:
        require_positive("SoftplusPotential", "beta", self.beta, "the activation is a softened ReLU with corner radius 1/beta")

    def entries(self, x: Tensor) -> Tensor:
        return -dilogarithm_gap(self.beta * x) / self.beta**2

    def activation(self, z: Tensor) -> Tensor:
        # Beyond 40 the two differ by less than rounding.
        return functional.softplus(z, self.beta, threshold=40.0)

    def slope(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.beta * z)

    def antiderivative(self, z: Tensor) -> Tensor:
        w = self.beta * z
        tail = dilogarithm_series(-torch.log1p(torch.exp(-w.abs())))
        return torch.where(w > 0, 0.5 * w.square() + pi**2 / 6 + tail, -tail) / self.beta**2

    def conjugate_entries(self, p: Tensor) -> Tensor:
        """-ln(1 + e^(-beta t)) = beta p has the root t = -ln(e^(-beta p) - 1)/beta; pi^2/6/beta^2 at p = 0, inf beyond."""
        w = torch.where(p < 0, self.beta * p, -1.0)
        t = -(torch.log(-torch.expm1(w)) - w) / self.beta
        root = w / self.beta
        inside = self.antiderivative(t) - 0.5 * (t - root).square()
        # For small p, t is large: Phi(t) - (t - p)^2/2 = pi^2/6 + t p - p^2/2 + Li2(-e^-t).
        tail = dilogarithm_series(-torch.log1p(torch.exp(-self.beta * t.clamp(min=0))))
        small = (pi**2 / 6 + tail) / self.beta**2 + root * (t - 0.5 * root)
        value = torch.where(t > 0, small, inside)
        return torch.where(p < 0, value, torch.full_like(p, pi**2 / 6 / self.beta**2).masked_fill(beyond(p, 0.0), inf))

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        beta = torch.full_like(u, self.beta)
        (high_u, low_u), (high_z, low_z) = two_product(u, beta), two_product(z, beta)
        positive = high_z > 0
        # e^(beta (u - sigma)) - 1 = (e^(beta u) - e^(beta z) - 1)/(1 + e^(beta z)), scaled so that nothing overflows.
        shifted, carry = two_sum(high_u, torch.where(positive, -high_z, 0.0))
        _, (grown, grown_low) = exponential(shifted, carry + low_u - torch.where(positive, low_z, 0.0))
        (decay, decay_low), _ = exponential(-high_z.abs(), torch.where(positive, -low_z, low_z))
        d = torch.log1p((accurate_sum(grown, -decay, grown_low - decay_low) / (1 + decay)).clamp(min=-1))
        s = torch.logaddexp(high_z, torch.zeros_like(z))
        near = d.abs() < 1
        short = torch.where(near, d, 0.0)
        # The second derivative 1/(1 - e^-x) is 1/x, whose part is a relative entropy, and a smooth remainder.
        smooth = sum((w * (1 - t) * bose_remainder((s + t * short).clamp(min=0)) for t, w in GAUSS), torch.zeros_like(z))
        log_s = torch.where(high_z < -40, high_z, torch.log(s))
        close = relative_entropy(high_u, s, short / s, log_s) + short.square() * smooth
        lift = dilogarithm_gap(high_u)
        tail = dilogarithm_series(-torch.log1p(torch.exp(-high_z.abs())))
        right = 0.5 * (high_u - high_z).square() + (pi**2 / 6 - lift) + tail
        left = high_u * (0.5 * high_u - high_z) - lift - tail
        return torch.where(near, close, torch.where(positive, right, left)) / self.beta**2


_SOFTPLUS = SoftplusPotential()


@dataclass(frozen=True)
class LogSigmoidPotential(Separable):
    """Psi(x) = sum Li2(e^x) - pi^2/6 on x <= 0. Activation: ln(1/(1 + e^-z)) = -softplus(-z); Phi(z) = -Li2(-e^-z).

    All of it is that of ``SoftplusPotential`` at -x, -z and -p, since -prox_f(-z) is the proximal map of x -> f(-x).
    """

    upper = 0.0

    def entries(self, x: Tensor) -> Tensor:
        return _SOFTPLUS.entries(-x)

    def activation(self, z: Tensor) -> Tensor:
        return functional.logsigmoid(z)

    def slope(self, z: Tensor) -> Tensor:
        return torch.sigmoid(-z)

    def antiderivative(self, z: Tensor) -> Tensor:
        return _SOFTPLUS.antiderivative(-z)

    def conjugate_entries(self, p: Tensor) -> Tensor:
        return _SOFTPLUS.conjugate_entries(-p)

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        return _SOFTPLUS.penalties(-u, -z)


@dataclass(frozen=True)
class SquareplusPotential(Separable):
    """Psi(x) = sum -ln(2x)/4 - 1/8 on x > 0. Activation: (z + sqrt(z^2 + 1))/2; Phi(z) = (z^2 + z sqrt(z^2 + 1) + arsinh z)/4.

    Proximal map for any step: (x + sqrt(x^2 + step))/2.
    """

    lower = 0.0

    def entries(self, x: Tensor) -> Tensor:
        return -0.25 * torch.log(2 * x) - 0.125

    def activation(self, z: Tensor) -> Tensor:
        return self.prox_entries(z, z.new_ones(()))

    def slope(self, z: Tensor) -> Tensor:
        return self.activation(z) / torch.hypot(torch.ones_like(z), z)

    def antiderivative(self, z: Tensor) -> Tensor:
        return 0.5 * z * self.activation(z) + 0.25 * torch.asinh(z)

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        """d^2/2 + (r - ln(1 + r))/4, d = u - sigma(z), r = d/sigma(z); sigma solves s^2 - z s = 1/4."""
        s = self.activation(z)
        square, square_error = two_product(u, u)
        product, error = two_product(u, z)
        d = accurate_sum(square, -product, torch.full_like(u, -0.25), square_error - error) / (u + 0.25 / s)
        r = d / s
        log_ratio = torch.where(r.abs() < 0.5, torch.log1p(r.clamp(-0.5, 0.5)), torch.log(u / s))
        return 0.5 * d.square() + 0.25 * log_remainder(r, log_ratio)

    def prox_entries(self, x: Tensor, step: Tensor) -> Tensor:
        root = torch.hypot(x, torch.sqrt(step))
        return torch.where(x > 0, 0.5 * (x + root), 0.5 * step / (root - x))

    def conjugate_entries(self, p: Tensor) -> Tensor:
        inside = -0.125 - 0.25 * (torch.log(-torch.where(p < 0, p, -1.0)) + log(2))
        return torch.where(p < 0, inside, inf)
