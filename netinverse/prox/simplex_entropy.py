"""The entropy on the simplex: softmax, and cross-entropy as its penalty."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netinverse.protocols import Step
from netinverse.prox.compensated import Pair, accurate_sum, exponential, two_product, two_sum
from netinverse.prox.indicators import Simplex
from netinverse.prox.norms import rounding_tolerance
from netinverse.prox.scalar import solve_monotone
from netinverse.prox.special import relative_entropy
from netinverse.tensors import per_sample, total

_INNER = 16
_OUTER = 40


@dataclass(frozen=True)
class SimplexEntropy:
    """Psi(x) = sum x ln x - ||x||^2/2 on the simplex along ``axis``. Activation: softmax; Phi(z) = logsumexp z.

    Other axes hold independent simplices. The penalty is the relative entropy sum u ln(u/q) - u + q, q = softmax(z):
    cross-entropy up to a constant in z. A sum within 64 eps n of 1 counts as inside.
    """

    axis: int = -1

    def outside(self, x: Tensor) -> Tensor:
        tolerance = rounding_tolerance(x) * x.shape[self.axis]
        return (x < 0).any(self.axis) | ((x.sum(self.axis) - 1).abs() > tolerance)

    def __call__(self, x: Tensor) -> Tensor:
        positive = x.clamp(min=0)
        value = (torch.xlogy(positive, positive) - 0.5 * positive.square()).sum(self.axis)
        return total(value.masked_fill(self.outside(x), inf))

    def prox(self, x: Tensor, step: Step = 1.0) -> Tensor:
        """step (ln x + 1 - x) + x - v = mu: one monotone equation per entry, and one for mu."""
        if isinstance(step, (int, float)) and step == 1:
            return torch.softmax(x, self.axis)
        steps = per_sample(step, x)
        return self._solve(x, steps, 1 - steps)

    def _solve(self, v: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """x = e^t on the simplex with a t + b e^t = v + mu. mu between the values that make the largest entry 1/n and 1."""
        shifted = v - v.amax(self.axis, keepdim=True)
        count = torch.tensor(float(v.shape[self.axis]), dtype=v.dtype, device=v.device)
        zero = torch.zeros_like(shifted.amax(self.axis, keepdim=True))
        low, high = zero - a * torch.log(count) + b / count, zero + b

        def entries(mu: Tensor) -> Tensor:
            """The root t <= 0. Left side concave for b <= 0, convex for b > 0; either way Newton stays in the bracket."""
            y = torch.minimum(shifted + mu, b)
            lower, upper = torch.minimum(y / a, (y - b) / a), torch.maximum(y / a, (y - b) / a).clamp(max=0)
            return solve_monotone(lambda t: (a * t + b * torch.exp(t) - y, a + b * torch.exp(t)), lower, upper, upper, _INNER)

        def sums(mu: Tensor) -> tuple[Tensor, Tensor]:
            x = torch.exp(entries(mu))
            tiny = torch.finfo(v.dtype).eps
            return x.sum(self.axis, keepdim=True) - 1, (x / (a + b * x).clamp(min=tiny)).sum(self.axis, keepdim=True)

        x = torch.exp(entries(solve_monotone(sums, low, high, low, _OUTER)))
        return x / x.sum(self.axis, keepdim=True)

    def conjugate(self, p: Tensor) -> Tensor:
        """Psi^*(p) = <p, x> - Psi(x) at the x with ln x - x = p + mu."""
        x = self._solve(p, p.new_ones(()), -p.new_ones(()))
        top = p.amax(self.axis, keepdim=True)
        gain = ((p - top) * x - torch.xlogy(x, x) + 0.5 * x.square()).sum(self.axis)
        return total(gain + top.squeeze(self.axis))

    def smooth_conjugate(self, z: Tensor) -> Tensor:
        return total(torch.logsumexp(z, self.axis))

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the simplex, by sorting."""
        return Simplex().project(x.movedim(self.axis, -1)).movedim(-1, self.axis)

    def penalty(self, u: Tensor, z: Tensor) -> Tensor:
        """Relative entropy of u and softmax(z), (batch,), in float64, rounded once to the dtype of u."""
        wide, logits = u.double().clamp(min=0).movedim(self.axis, -1), z.double().movedim(self.axis, -1)
        top = logits.amax(-1, keepdim=True)
        (growth, low), _ = exponential(*two_sum(logits, -top))
        mass = _pair_sum((growth, low))
        product, error = two_product(wide, mass[0].expand_as(wide))
        excess = accurate_sum(product, -growth, error + wide * mass[1] - low) / growth
        log_q = (logits - top) - torch.log(mass[0])
        value = relative_entropy(wide, growth / mass[0], excess, log_q).sum(-1)
        return total(value.masked_fill(self.outside(u), inf)).to(u.dtype)


def _pair_sum(x: Pair) -> Pair:
    """Sum of pairs along the last axis, kept, by halving."""
    high, low = x
    while high.shape[-1] > 1:
        if high.shape[-1] % 2:
            high, low = (torch.cat([part, torch.zeros_like(part[..., :1])], -1) for part in (high, low))
        s, e = two_sum(high[..., ::2], high[..., 1::2])
        high, low = s, low[..., ::2] + low[..., 1::2] + e
    return high, low
