"""The entropies behind tanh and the logistic function. Both penalties are the relative entropy of two coins."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from netinverse.prox.compensated import accurate_sum, exponential, two_product
from netinverse.prox.scalar import Separable
from netinverse.prox.special import relative_entropy


def _coins(first: Tensor, second: Tensor, excess: Tensor, decay: Tensor, exponent: Tensor) -> Tensor:
    """KL((first, second) || (1, e)/(1 + e)), e = e^-exponent = decay, given excess = first (1 + e) - 1."""
    total = torch.log1p(decay)
    heads = relative_entropy(first, 1 / (1 + decay), excess, -total)
    tails = relative_entropy(second, decay / (1 + decay), -excess / decay, -exponent - total)
    return heads + tails


@dataclass(frozen=True)
class LogisticEntropy(Separable):
    """Psi(x) = sum x ln x + (1 - x) ln(1 - x) - x^2/2 on [0, 1]. Activation: 1/(1 + e^-z); Phi(z) = ln(1 + e^z)."""

    lower = 0.0
    upper = 1.0

    def entries(self, x: Tensor) -> Tensor:
        value: Tensor = torch.xlogy(x, x) + torch.special.xlog1py(1 - x, -x) - 0.5 * x.square()
        return value

    def activation(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z)

    def slope(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z) * torch.sigmoid(-z)

    def antiderivative(self, z: Tensor) -> Tensor:
        return torch.logaddexp(z, torch.zeros_like(z))

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        """KL of the coins u and sigma(z), each seen from the side z favours."""
        (decay, low), _ = exponential(-z.abs())
        positive = z >= 0
        product, error = two_product(u, decay)
        excess = accurate_sum(u, product, torch.where(positive, -1.0, -decay), error + u * low - torch.where(positive, 0.0, low))
        excess = torch.where(positive, excess, -excess)
        return _coins(torch.where(positive, u, 1 - u), torch.where(positive, 1 - u, u), excess, decay, z.abs())


@dataclass(frozen=True)
class TanhEntropy(Separable):
    """Psi(x) = sum x artanh x + (ln(1 - x^2) - x^2)/2 on [-1, 1], ln 2 - 1/2 at its ends.

    Activation: tanh z; Phi(z) = ln cosh z.
    """

    lower = -1.0
    upper = 1.0

    def entries(self, x: Tensor) -> Tensor:
        value: Tensor = torch.special.xlog1py(1 + x, x) + torch.special.xlog1py(1 - x, -x) - x.square()
        return 0.5 * value

    def activation(self, z: Tensor) -> Tensor:
        return torch.tanh(z)

    def slope(self, z: Tensor) -> Tensor:
        return (1 - torch.tanh(z)) * (1 + torch.tanh(z))

    def antiderivative(self, z: Tensor) -> Tensor:
        size = z.abs()
        far = size + torch.log1p(torch.exp(-2 * size)) - log(2)
        return torch.where(size < 1, torch.log1p(2 * torch.sinh(0.5 * size.clamp(max=1)).square()), far)

    def penalties(self, u: Tensor, z: Tensor) -> Tensor:
        """KL of the coins (1 + u)/2 and (1 + tanh z)/2; the logistic penalty at twice z."""
        along = torch.where(z < 0, -u, u)
        (decay, _), (shift, low) = exponential(-2 * z.abs())
        product, error = two_product(along, shift)
        excess = 0.5 * accurate_sum(2 * along, shift, product, error + low + along * low)
        return _coins(0.5 * (1 + along), 0.5 * (1 - along), excess, decay, 2 * z.abs())
